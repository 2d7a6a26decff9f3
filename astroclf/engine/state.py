"""Where a run stands beside its weights, how far it goes, and whether a checkpoint is one that it can go on from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from astroclf.errors import CheckpointError
from astroclf.settings.training import TrainerSettings


@dataclass
class TrainState:
    """Where the run stands: everything about it that is not a tensor."""

    epoch: int = 0
    batch: int = 0  # of the epoch: the next one to train on
    step: int = 0  # optimizer steps taken, skipped ones included
    finished: bool = False
    stopped_early: bool = False
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)
    curve: list[dict[str, float]] = field(default_factory=list)  # of the steps, thinned to a few thousand


class FiniteBuffers:
    """The last finite BatchNorm statistics of a model, for when a non-finite forward pass spoils them.

    Skipping the optimizer's step saves the weights, but not the running mean and variance, which nothing would ever
    make finite again. Training mode does not read them, so it is enough to look before each evaluation.

    Attributes
    ----------
    buffers : list of Tensor
        The model's own, of floating-point numbers.
    """

    def __init__(self, model: nn.Module) -> None:
        self.buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._finite = [buffer.clone() for buffer in self.buffers]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the last finite values back where a buffer has others; remember those of the rest."""
        for buffer, finite in zip(self.buffers, self._finite, strict=True):
            finite.copy_(torch.where(torch.isfinite(buffer).all(), buffer, finite))
            buffer.copy_(finite)

    def state_dict(self) -> dict[str, Any]:
        """Return the last finite values."""
        return {"finite": self._finite}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for mine, saved in zip(self._finite, state["finite"], strict=True):
            mine.copy_(saved)


def planned_steps(settings: TrainerSettings, batches_per_epoch: int) -> int:
    """Count the optimizer steps of a whole run; an epoch's last one may take fewer than `grad_accum_steps` batches."""
    steps = settings.epochs * math.ceil(batches_per_epoch / settings.grad_accum_steps)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)


def planned_pixels(settings: TrainerSettings, batches_per_epoch: int, image_size: int) -> int:
    """Count the pixels of all images that a whole run trains on, as often as it does."""
    images = settings.grad_accum_steps * settings.images_per_batch
    return planned_steps(settings, batches_per_epoch) * images * image_size**2


def refuse_other_run(
    saved: Mapping[str, Any], fingerprints: Mapping[str, str], batches_per_epoch: int, settings: TrainerSettings
) -> None:
    """Refuse to go on from a checkpoint with other images or batches, or with an end before where it stands.

    Raises
    ------
    CheckpointError
        With what to do.
    """
    changed = [name for name, value in fingerprints.items() if saved["fingerprints"].get(name) != value]
    if changed:
        raise CheckpointError(
            f"The run cannot go on: its {' and '.join(changed)} split now holds other images or labels than when it "
            "was stopped. Bring back the data set and the split settings it began with, or start a new run."
        )
    if saved["batches_per_epoch"] != batches_per_epoch:
        raise CheckpointError(
            f"The run cannot go on: its epochs had {saved['batches_per_epoch']} batches and now have "
            f"{batches_per_epoch}. Bring back the settings it began with, or start a new run."
        )
    end, step = planned_steps(settings, batches_per_epoch), saved["train_state"]["step"]
    if end < step:
        key = "max_steps" if end == settings.max_steps else "epochs"
        raise CheckpointError(
            f"The run cannot end at step {end}, as trainer.{key}={getattr(settings, key)} has it: it has taken {step} "
            f"steps already. To end it there, give trainer.max_steps={step}; to go on, a later end; to go back, resume "
            "one of its earlier checkpoints."
        )
