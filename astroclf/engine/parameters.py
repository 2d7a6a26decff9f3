"""Parameter groups for the optimizer, and the running average of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups: weight matrices and kernels with decay; norms and biases (all 1-D parameters) without."""
    decayed = [p for p in model.parameters() if p.requires_grad and p.ndim > 1]
    spared = [p for p in model.parameters() if p.requires_grad and p.ndim <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": spared, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class Average:
    """Exponential moving average of a model's weights (Polyak averaging).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is forgotten.
    Buffers (BatchNorm statistics) are averages already: the newest are copied when the average is read.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._source = model
        self._model = copy.deepcopy(model).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._model.parameters()), list(self._source.parameters()), 1 - decay)

    @torch.no_grad()
    def model(self) -> nn.Module:
        """The averaged model, in eval mode."""
        for mine, newest in zip(self._model.buffers(), self._source.buffers(), strict=True):
            mine.copy_(newest)
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "model": self.model().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self._model.load_state_dict(state["model"])
