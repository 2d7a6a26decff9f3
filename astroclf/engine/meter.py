"""What the training steps come to, counted on the device: nothing here waits for it until somebody reads."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from astroclf.util.ranks import ALONE, Ranks


class StepMeter:
    """Means over images and steps since the last validation, step-by-step curves, and skipped steps.

    Parameters
    ----------
    device : torch.device
    curve_every : int
        Keep a point of the step-by-step curves every so many steps.
    ranks : Ranks
        The processes that share the training, each of which counts its own images: what is read is of all of them.
    """

    def __init__(self, device: torch.device, curve_every: int, ranks: Ranks = ALONE) -> None:
        self.curve_every, self.ranks = curve_every, ranks
        self._device = device
        self._names = ["loss"]  # what else there is joins it at the first step
        self._image_sums = self._zeros(torch.float64, 1)
        self._sums = {name: self._zeros(torch.float64) for name in ("images", "norm", "steps")}
        self._skipped = {name: self._zeros(torch.int64) for name in ("total", "streak")}
        self._curve: list[tuple[int, float, int, torch.Tensor]] = []

    def add(self, step: int, lr: float, sums: Mapping[str, torch.Tensor], images: int, norm: torch.Tensor) -> None:
        """Take in a step, by as few kernels as it can be: each takes a GPU longer to launch than to run.

        Parameters
        ----------
        sums : mapping of str to Tensor
            Over the step's images in this process, of the ``loss`` and of whatever else is averaged over them.
        images : int
            Of all processes.
        norm : Tensor
            Of the gradient, before clipping.
        """
        if new := [name for name in sums if name not in self._names]:
            self._names += new
            self._image_sums = torch.cat([self._image_sums, self._zeros(torch.float64, len(new))])
        values = torch.stack([norm, *(sums[name] for name in self._names)])
        finite = torch.isfinite(values[:2]).all()
        counted = torch.where(finite, values, 0)
        self._image_sums += counted[1:]
        self._sums["images"] += torch.where(finite, images, 0)
        self._sums["norm"] += counted[0]
        self._sums["steps"] += finite
        skipped = ~finite
        self._skipped["total"] += skipped
        self._skipped["streak"].add_(1).mul_(skipped)
        if step % self.curve_every == 0:
            self._curve.append((step, lr, images, values))

    def skipped_steps(self) -> int:
        """Count the steps of the run so far whose loss or gradient was not finite."""
        return int(self._skipped["total"])

    def streak(self) -> int:
        """Count how many of the newest steps in a row were skipped."""
        return int(self._skipped["streak"])

    def take_means(self) -> dict[str, float]:
        """Return the means since the last call; NaN where no step was finite."""
        image_sums = dict(zip(self._names, self.ranks.sum_(self._image_sums).tolist(), strict=True))
        sums = {name: float(value) for name, value in self._sums.items()}
        for value in (self._image_sums, *self._sums.values()):
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
        values = torch.stack([of_step for *_, of_step in curve])
        values[:, 1:] = self.ranks.sum_(values[:, 1:].contiguous())  # the norm is of all already
        images = torch.tensor([[images] for _, _, images, _ in curve], dtype=values.dtype, device=values.device)
        names = [*(f"step/{name}" for name in self._names), "step/grad_norm"]
        rows = torch.cat([values[:, 1:] / images, values[:, :1]], dim=1).tolist()
        for (step, lr, _, _), row in zip(curve, rows, strict=True):
            point = {**dict(zip(names, row, strict=True)), "step/lr": lr}
            yield step, {name: value for name, value in point.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """Return all but the curve, which is taken before each checkpoint."""
        image_sums = dict(zip(self._names, self._image_sums.unbind(), strict=True))
        return {"image_sums": image_sums, "sums": self._sums, "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self._names = list(state["image_sums"])
        self._image_sums = torch.stack(list(state["image_sums"].values())).to(self._device)
        for mine, saved in ((self._sums, state["sums"]), (self._skipped, state["skipped"])):
            for name, value in saved.items():
                mine[name].copy_(value)

    def _zeros(self, dtype: torch.dtype, *shape: int) -> torch.Tensor:
        return torch.zeros(shape, dtype=dtype, device=self._device)
