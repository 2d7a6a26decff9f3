"""What the training steps come to, counted on the device: nothing here waits for it until somebody reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch


class StepMeter:
    """Means over images and steps since the last validation, step-by-step curves, and skipped steps.

    Parameters
    ----------
    device : torch.device
    curve_every : int
        Keep a point of the step-by-step curves every so many steps.
    """

    def __init__(self, device: torch.device, curve_every: int) -> None:
        self.curve_every = curve_every
        self._device = device
        self._image_sums = {"loss": self._zero(torch.float64)}  # what else there is joins it at the first step
        self._sums = {name: self._zero(torch.float64) for name in ("images", "norm", "steps")}
        self._skipped = {name: self._zero(torch.int64) for name in ("total", "streak")}
        self._curve: list[tuple[int, float, dict[str, torch.Tensor]]] = []

    def add(self, step: int, lr: float, sums: Mapping[str, torch.Tensor], images: int, norm: torch.Tensor) -> None:
        """Take in a step.

        Parameters
        ----------
        sums : mapping of str to Tensor
            Over the step's images, of the ``loss`` and of whatever else is averaged over them.
        norm : Tensor
            Of the gradient, before clipping.
        """
        finite = torch.isfinite(norm) & torch.isfinite(sums["loss"])
        for name, value in sums.items():
            if name not in self._image_sums:
                self._image_sums[name] = self._zero(torch.float64)
            self._image_sums[name] += torch.where(finite, value, 0)
        self._sums["images"] += torch.where(finite, images, 0)
        self._sums["norm"] += torch.where(finite, norm, 0)
        self._sums["steps"] += finite
        self._skipped["total"] += ~finite
        self._skipped["streak"].add_(1).mul_(~finite)
        if step % self.curve_every == 0:
            means = {f"step/{name}": value / images for name, value in sums.items()}
            self._curve.append((step, lr, {**means, "step/grad_norm": norm}))

    def skipped_steps(self) -> int:
        """Count the steps of the run so far whose loss or gradient was not finite."""
        return int(self._skipped["total"])

    def streak(self) -> int:
        """Count how many of the newest steps in a row were skipped."""
        return int(self._skipped["streak"])

    def take_means(self) -> dict[str, float]:
        """Return the means since the last call; NaN where no step was finite."""
        image_sums = {name: float(value) for name, value in self._image_sums.items()}
        sums = {name: float(value) for name, value in self._sums.items()}
        for value in (*self._image_sums.values(), *self._sums.values()):
            value.zero_()
        images, steps = sums["images"], sums["steps"]
        return {
            **{f"train/{name}": value / images if images else math.nan for name, value in image_sums.items()},
            "train/grad_norm": sums["norm"] / steps if steps else math.nan,
            "train/skipped_steps": self.skipped_steps(),
        }

    def take_curve(self) -> Iterator[tuple[int, dict[str, float]]]:
        """Yield the points of the step-by-step curves since the last call, as (step, values); one wait for them all."""
        curve, self._curve = self._curve, []
        if not curve:
            return
        values = torch.stack([torch.stack(list(tensors.values())) for _, _, tensors in curve]).tolist()
        for (step, lr, tensors), row in zip(curve, values, strict=True):
            point = {**dict(zip(tensors, row, strict=True)), "step/lr": lr}
            yield step, {name: value for name, value in point.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """Return all but the curve, which is taken before each checkpoint."""
        return {"image_sums": self._image_sums, "sums": self._sums, "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._image_sums = {name: value.to(self._device, copy=True) for name, value in state["image_sums"].items()}
        for mine, saved in ((self._sums, state["sums"]), (self._skipped, state["skipped"])):
            for name, value in saved.items():
                mine[name].copy_(value)

    def _zero(self, dtype: torch.dtype) -> torch.Tensor:
        return torch.zeros((), dtype=dtype, device=self._device)
