"""Sharpness-aware minimisation: gradients of where the loss is highest nearby (Foret et al. 2021, arXiv:2010.01412)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


class Ascent:
    """The way up of a step: weights go `rho` along the gradient, and back to the bit once it was taken there.

    Parameters
    ----------
    model : nn.Module
    rho : float
        Length of the way, in the units of the weights.
    """

    def __init__(self, model: nn.Module, rho: float) -> None:
        self.model, self.rho = model, rho
        self._norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]

    @contextmanager
    def up(self) -> Iterator[None]:
        """Take the weights up along the gradients that are there, whose place those taken inside get.

        Running statistics of BatchNorm stay as they are inside: they are of the weights themselves. Gradients that are
        not finite lead to weights that are not, for a while, and spoil those taken there: the step is left out.
        """
        climbed: list[torch.Tensor] = [p for p in self.model.parameters() if p.requires_grad and p.grad is not None]
        with torch.no_grad():
            gradients = [p.grad for p in climbed if p.grad is not None]
            length = nn.utils.get_total_norm(gradients)
            sound = torch.isfinite(length)
            before = [p.clone() for p in climbed]
            factor = torch.where(sound, self.rho / (length + 1e-12), 0.0)
            torch._foreach_add_(climbed, torch._foreach_mul(gradients, factor))
        for parameter in climbed:
            parameter.grad = None
        tracked = [norm.track_running_stats for norm in self._norms]
        for norm in self._norms:
            norm.track_running_stats = False  # torch then takes the batch's own statistics, and keeps none
        try:
            yield
        finally:
            for norm, was in zip(self._norms, tracked, strict=True):
                norm.track_running_stats = was
            with torch.no_grad():
                torch._foreach_copy_(climbed, before)
        lasting = [p.grad for p in climbed if p.grad is not None]
        if lasting:
            torch._foreach_mul_(lasting, torch.where(sound, 1.0, torch.nan))
