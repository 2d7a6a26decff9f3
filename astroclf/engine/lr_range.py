"""The learning-rate range test: how the loss falls, and when it explodes, while the learning rate rises."""

from __future__ import annotations

import copy
import math
from collections.abc import Generator
from dataclasses import dataclass
from functools import cached_property
from itertools import count

import numpy as np
from scipy.ndimage import gaussian_filter1d

from astroclf.data.loader import Batch, BatchLoader
from astroclf.engine.freezing import Freezing
from astroclf.engine.schedule import set_lr
from astroclf.engine.training_step import TrainingStep
from astroclf.errors import TrainingError

EXPLODED = 4.0  # times the lowest smoothed loss: the test is over
SMOOTHING_DECADES = 0.2  # width of the kernel that smooths the losses, in powers of ten of the learning rate
RUNNING_SHARE = 0.1  # of the newest loss in the running mean that tells when the test is over
LEAST_FALL = 0.02  # of the loss at the beginning: less is noise


@dataclass(frozen=True)
class LrRange:
    """What a range test measured.

    Attributes
    ----------
    lrs, losses
        (L,) float64, of the steps whose loss was finite, in their order.
    """

    lrs: np.ndarray
    losses: np.ndarray

    @cached_property
    def smoothed(self) -> np.ndarray:
        """The losses, smoothed over neighbouring learning rates on both sides: a running mean would lag behind."""
        if len(self.lrs) < 3:
            return self.losses
        per_step = math.log10(self.lrs[-1] / self.lrs[0]) / (len(self.lrs) - 1)
        return gaussian_filter1d(self.losses, SMOOTHING_DECADES / per_step, mode="nearest")

    @property
    def lowest(self) -> int:
        """The step of the lowest smoothed loss."""
        return int(self.smoothed.argmin())

    @property
    def falls(self) -> bool:
        """Whether the loss fell by more than noise before it rose."""
        start, lowest = float(self.smoothed[0]), float(self.smoothed[self.lowest])
        return self.lowest > 1 and start - lowest > LEAST_FALL * abs(start)

    @property
    def steepest(self) -> float:
        """The learning rate at which the loss falls fastest with its logarithm."""
        until = self.lowest + 1
        return float(self.lrs[np.gradient(self.smoothed[:until]).argmin()])

    @property
    def tenth(self) -> float:
        """One tenth of the learning rate at which the loss is lowest."""
        return float(self.lrs[self.lowest]) / 10


def lr_range_test(
    step: TrainingStep,
    loader: BatchLoader,
    *,
    lowest_lr: float,
    highest_lr: float,
    steps: int,
    batches_per_step: int = 1,
    freezing: Freezing | None = None,
) -> LrRange:
    """Train while the learning rate rises exponentially (Smith 2015, arXiv:1506.01186), and put the weights back.

    The test ends early where the loss has exploded. A data set of fewer batches than steps is gone through again.

    Parameters
    ----------
    step
        Whose optimizer is spent afterwards.
    loader
        Of the training images.
    freezing
        What of the network does not train at the beginning of a run: it does not here.

    Raises
    ------
    TrainingError
        The loss is not finite at the lowest learning rate.
    """
    optimizer, before = step.optimizer_step.optimizer, copy.deepcopy(step.model.state_dict())
    step.model.train()
    if freezing is not None:
        freezing.apply(0)
    batches = _endless(loader)
    lrs, losses, running, best = [], [], math.nan, math.inf
    try:
        for index in range(steps):
            lr = lowest_lr * (highest_lr / lowest_lr) ** (index / (steps - 1))
            set_lr(optimizer, lr)
            loss = float(step.take([next(batches) for _ in range(batches_per_step)]).loss)
            if not math.isfinite(loss):
                if index == 0:
                    raise TrainingError(
                        f"The loss of the first step is {loss}, before any learning rate could do harm. "
                        "trainer.precision=fp32 tells whether the number format is the cause; `astroclf check` looks "
                        "at the images."
                    )
                break
            lrs.append(lr)
            losses.append(loss)
            running = loss if index == 0 else running + RUNNING_SHARE * (loss - running)
            best = min(best, running)
            if running > EXPLODED * best:
                break
    finally:
        batches.close()
        step.model.load_state_dict(before)
    return LrRange(np.array(lrs), np.array(losses))


def _endless(loader: BatchLoader) -> Generator[Batch, None, None]:
    """Yield the batches of epoch after epoch."""
    for epoch in count():
        yield from loader.epoch(epoch)
