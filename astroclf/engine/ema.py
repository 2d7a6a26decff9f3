"""The running average of a model's weights, which often generalises better than the newest ones."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class ModelEMA:
    """Exponential moving average of a model's weights and BatchNorm statistics (Polyak averaging).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is forgotten.
    The statistics are averaged with the weights: those of the newest weights do not fit the averaged ones while the
    learning rate is high. Values that a non-finite forward pass spoilt are left out.

    Attributes
    ----------
    statistics : Tensor
        The average of all BatchNorm statistics, joined to one vector.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._model = copy.deepcopy(model).requires_grad_(False).eval()
        self._weights: list[torch.Tensor] = list(model.parameters())
        self._buffers = list(model.buffers())
        self.statistics = self._flat(self._buffers)

    @staticmethod
    def _flat(buffers: list[torch.Tensor]) -> torch.Tensor:
        """Join all floating-point buffers to one vector: a few kernels a step for all of them."""
        parts = [buffer.flatten() for buffer in buffers if buffer.is_floating_point()]
        return torch.cat(parts) if parts else torch.zeros(0)

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights and statistics after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._model.parameters()), self._weights, 1 - decay)
        newest = self._flat(self._buffers)
        self.statistics.lerp_(torch.where(torch.isfinite(newest), newest, self.statistics), 1 - decay)

    @torch.no_grad()
    def model(self) -> nn.Module:
        """Return the averaged model, in evaluation mode."""
        start = 0
        for mine, newest in zip(self._model.buffers(), self._buffers, strict=True):
            if mine.is_floating_point():
                mine.copy_(self.statistics[start : start + mine.numel()].view_as(mine))
                start += mine.numel()
            else:
                mine.copy_(newest)
        return self._model

    def state_dict(self) -> dict[str, Any]:
        """Return the average and how many updates it has seen."""
        return {"updates": self.updates, "model": self.model().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up what `state_dict` gave."""
        self.updates = state["updates"]
        self._model.load_state_dict(state["model"])
        self.statistics = self._flat(list(self._model.buffers())).clone()
