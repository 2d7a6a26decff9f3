"""What an optimizer is told of a model's parameters: which of them decay, and how fast each part of it learns."""

from __future__ import annotations

from typing import Any

from torch import nn

from astroclf.models.backbone import stages_of


def parameter_groups(
    model: nn.Module, weight_decay: float, layer_decay: float = 1.0, head_lr: float = 1.0
) -> list[dict[str, Any]]:
    """Return groups of parameters by the scale of their learning rate and by whether they decay.

    Weight matrices and kernels decay; norms and biases (all 1-D parameters) do not, nor what the backbone names
    besides by a method ``no_weight_decay()``.

    Parameters
    ----------
    layer_decay : float
        Of the backbone's S stages, counted from 1, stage s has the scale ``layer_decay ** (S - s)`` (Clark et al. 2020,
        arXiv:2003.10555; Bao et al. 2022, arXiv:2106.08254).
    head_lr : float
        The scale of all that is no part of the backbone.
    """
    scales, spared = _scales(model, layer_decay, head_lr), _spared(model)
    groups: dict[tuple[float, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decays, scale = parameter.ndim > 1 and name not in spared, scales.get(name, head_lr)
        group = {"params": [], "weight_decay": weight_decay if decays else 0.0, "lr_scale": scale}
        groups.setdefault((scale, not decays), group)["params"].append(parameter)
    return [groups[key] for key in sorted(groups)]


def _scales(model: nn.Module, layer_decay: float, head_lr: float) -> dict[str, float]:
    """Return the scale of each parameter of the backbone; a model without one is all of one scale."""
    backbone = getattr(model, "backbone", None)
    if not isinstance(backbone, nn.Module):
        return {}
    stages = stages_of(backbone)
    last = len(stages) - 1
    return {f"backbone.{name}": layer_decay ** (last - i) for i, names in enumerate(stages) for name in names}


def _spared(model: nn.Module) -> set[str]:
    backbone: Any = getattr(model, "backbone", None)
    spared = backbone.no_weight_decay() if hasattr(backbone, "no_weight_decay") else ()
    return {f"backbone.{name}" for name in spared}
