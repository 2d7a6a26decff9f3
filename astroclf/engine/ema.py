"""Parameter groups for the optimizer, the running average of the weights, and buffers that stay finite."""

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


class ModelEMA:
    """Exponential moving average of a model's weights and BatchNorm statistics (Polyak averaging).

    The decay warms up as min(decay, (1 + n) / (10 + n)) after n updates, so that the random start is forgotten.
    The statistics are averaged with the weights: those of the newest weights do not fit the averaged ones while the
    learning rate is high. Values that a non-finite forward pass spoilt are left out.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self._model = copy.deepcopy(model).requires_grad_(False).eval()
        self._weights: list[torch.Tensor] = list(model.parameters())
        self._buffers = list(model.buffers())
        self._statistics = self._flat(self._buffers)

    @staticmethod
    def _flat(buffers: list[torch.Tensor]) -> torch.Tensor:
        """All floating-point buffers as one vector: a few kernels a step for all of them."""
        parts = [buffer.flatten() for buffer in buffers if buffer.is_floating_point()]
        return torch.cat(parts) if parts else torch.zeros(0)

    @torch.no_grad()
    def update(self) -> None:
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self._model.parameters()), self._weights, 1 - decay)
        newest = self._flat(self._buffers)
        self._statistics.lerp_(torch.where(torch.isfinite(newest), newest, self._statistics), 1 - decay)

    @torch.no_grad()
    def model(self) -> nn.Module:
        """The averaged model, in eval mode."""
        start = 0
        for mine, newest in zip(self._model.buffers(), self._buffers, strict=True):
            if mine.is_floating_point():
                mine.copy_(self._statistics[start : start + mine.numel()].view_as(mine))
                start += mine.numel()
            else:
                mine.copy_(newest)
        return self._model

    def state_dict(self) -> dict[str, Any]:
        return {"updates": self.updates, "model": self.model().state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.updates = state["updates"]
        self._model.load_state_dict(state["model"])
        self._statistics = self._flat(list(self._model.buffers())).clone()


class FiniteBuffers:
    """Takes BatchNorm statistics that a non-finite forward pass spoilt back to the last sound ones.

    Skipping the optimizer's step saves the weights, but not the running mean and variance, which nothing would ever
    make finite again. Training mode does not read them, so it is enough to look before each evaluation.
    """

    def __init__(self, model: nn.Module) -> None:
        self._buffers = [buffer for buffer in model.buffers() if buffer.is_floating_point()]
        self._sound = [buffer.clone() for buffer in self._buffers]

    @torch.no_grad()
    def restore(self) -> None:
        for buffer, sound in zip(self._buffers, self._sound, strict=True):
            if torch.isfinite(buffer).all():
                sound.copy_(buffer)
            else:
                buffer.copy_(sound)

    def state_dict(self) -> dict[str, Any]:
        return {"sound": self._sound}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for mine, saved in zip(self._sound, state["sound"], strict=True):
            mine.copy_(saved)
