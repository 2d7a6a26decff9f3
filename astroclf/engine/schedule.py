"""Learning rate as a pure function of the step, with absolute ends; a resumed run needs nothing but its step."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * fraction))


def set_lr(optimizer: torch.optim.Optimizer, value: float) -> None:
    """Set the learning rate of all parameter groups, each times its ``lr_scale``."""
    for group in optimizer.param_groups:
        group["lr"] = value * group.get("lr_scale", 1.0)


@dataclass(frozen=True)
class Schedule:
    """The base of the schedules: a rise, and whatever follows it.

    Parameters
    ----------
    peak_lr : float
        ``optimizer.lr``.
    total_steps : int
        Optimizer steps of the whole run.
    warmup_fraction : float
        Share of `total_steps` that the rise takes.
    """

    peak_lr: float
    total_steps: int
    warmup_fraction: float = 0.0

    def lr(self, step: int) -> float:
        """Return the learning rate of the optimizer step number `step` (the first is 0)."""
        raise TypeError("a Schedule needs its own lr(step)")

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Set the learning rate of all parameter groups, each by its scale, and return that of scale 1."""
        value = self.lr(step)
        set_lr(optimizer, value)
        return value

    @property
    def _last(self) -> int:
        return max(self.total_steps - 1, 1)

    @property
    def _warmup(self) -> float:
        """Steps of the rise; the peak is reached at this step."""
        return self.warmup_fraction * self._last


@dataclass(frozen=True)
class Constant(Schedule):
    """`peak_lr` throughout, after an optional linear warm-up."""

    def lr(self, step: int) -> float:
        """Return the peak, or the way up to it."""
        return self.peak_lr * min(1.0, (step + 1) / (self._warmup + 1))


@dataclass(frozen=True)
class Cosine(Schedule):
    """Linear warm-up, then a half cosine down to `end_lr` (Loshchilov & Hutter 2017, arXiv:1608.03983, one cycle)."""

    end_lr: float = 0.0

    def lr(self, step: int) -> float:
        """Return the way up to the peak, then half a cosine down to `end_lr`."""
        if step < self._warmup:
            return self.peak_lr * (step + 1) / (self._warmup + 1)
        return _cosine(self.peak_lr, self.end_lr, min(1.0, (step - self._warmup) / max(self._last - self._warmup, 1)))


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Cosine rise from `start_lr` to the peak, cosine fall to `end_lr` (Smith & Topin 2018, arXiv:1708.07120).

    Both ends are absolute learning rates. (PyTorch's OneCycleLR takes divisors, and its ``final_div_factor`` divides
    the *initial* rate.) None gives PyTorch's defaults: peak / 25, and that / 10,000.
    """

    start_lr: float | None = None
    end_lr: float | None = None

    def lr(self, step: int) -> float:
        """Return half a cosine from `start_lr` up to the peak, then one down to `end_lr`."""
        start = self.peak_lr / 25 if self.start_lr is None else self.start_lr
        end = start / 1e4 if self.end_lr is None else self.end_lr
        if step < self._warmup:
            return _cosine(start, self.peak_lr, step / self._warmup)
        return _cosine(self.peak_lr, end, min(1.0, (step - self._warmup) / max(self._last - self._warmup, 1e-9)))
