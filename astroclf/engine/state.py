"""Where a run stands beside its weights: how far it is, what it measured, the last finite BatchNorm statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


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


class FiniteBuffers:
    """The last finite BatchNorm statistics of a model, for when a non-finite forward pass spoils them.

    Skipping the optimizer's step saves the weights, but not the running mean and variance, which nothing would ever
    make finite again. Training mode does not read them, so it is enough to look before each evaluation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._finite = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def restore(self) -> None:
        """Put the last finite values back where a buffer has others; remember those of the rest."""
        for buffer, finite in zip(self._buffers, self._finite, strict=True):
            if torch.isfinite(buffer).all():
                finite.copy_(buffer)
            else:
                buffer.copy_(finite)

    def state_dict(self) -> dict[str, Any]:
        """Return the last finite values."""
        return {"finite": self._finite}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        for mine, saved in zip(self._finite, state["finite"], strict=True):
            mine.copy_(saved)
