"""What the training steps come to, counted on the device: nothing here waits for it until somebody reads."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch


class StepMeter:
    """Loss and gradient norm of the steps since the last validation, step-by-step curves, and steps that were skipped.

    Parameters
    ----------
    device : torch.device
    curve_every : int
        Keep a point of the step-by-step curves every so many steps.
    """

    def __init__(self, device: torch.device, curve_every: int) -> None:
        self.curve_every = curve_every
        sums, counts = ("loss", "images", "norm", "steps"), ("total", "streak")
        self._sums = {name: torch.zeros((), dtype=torch.float64, device=device) for name in sums}
        self._skipped = {name: torch.zeros((), dtype=torch.int64, device=device) for name in counts}
        self._curve: list[tuple[int, float, torch.Tensor, torch.Tensor]] = []

    def add(self, step: int, lr: float, loss_sum: torch.Tensor, images: int, norm: torch.Tensor) -> None:
        """Take in a step: the sum of its images' losses, and the norm of its gradient before clipping."""
        finite = torch.isfinite(norm) & torch.isfinite(loss_sum)
        self._sums["loss"] += torch.where(finite, loss_sum, 0)
        self._sums["images"] += torch.where(finite, images, 0)
        self._sums["norm"] += torch.where(finite, norm, 0)
        self._sums["steps"] += finite
        self._skipped["total"] += ~finite
        self._skipped["streak"].add_(1).mul_(~finite)
        if step % self.curve_every == 0:
            self._curve.append((step, lr, loss_sum / images, norm))

    def skipped_steps(self) -> int:
        """Steps of the run so far whose loss or gradient was not finite."""
        return int(self._skipped["total"])

    def streak(self) -> int:
        """How many of the newest steps in a row were skipped."""
        return int(self._skipped["streak"])

    def take_means(self) -> dict[str, float]:
        """Means since the last call; NaN where no step was finite."""
        sums = {name: float(value) for name, value in self._sums.items()}
        for value in self._sums.values():
            value.zero_()
        return {
            "train/loss": sums["loss"] / sums["images"] if sums["images"] else math.nan,
            "train/grad_norm": sums["norm"] / sums["steps"] if sums["steps"] else math.nan,
            "train/skipped_steps": self.skipped_steps(),
        }

    def take_curve(self) -> Iterator[tuple[int, dict[str, float]]]:
        """The points of the step-by-step curves since the last call, as (step, values); one wait for them all."""
        curve, self._curve = self._curve, []
        if not curve:
            return
        losses = torch.stack([loss for _, _, loss, _ in curve]).tolist()
        norms = torch.stack([norm for _, _, _, norm in curve]).tolist()
        for (step, lr, _, _), loss, norm in zip(curve, losses, norms, strict=True):
            point = {"step/loss": loss, "step/grad_norm": norm, "step/lr": lr}
            yield step, {name: value for name, value in point.items() if math.isfinite(value)}

    def state_dict(self) -> dict[str, Any]:
        """All but the curve, which is taken before each checkpoint."""
        return {"sums": self._sums, "skipped": self._skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, saved in ((self._sums, state["sums"]), (self._skipped, state["skipped"])):
            for name, value in saved.items():
                mine[name].copy_(value)
