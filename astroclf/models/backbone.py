"""What a backbone may say of itself beside its features: its stages, and which pixels its weights were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from torch import nn


@dataclass(frozen=True)
class DataConfig:
    """How the images were prepared that a backbone's weights were trained on.

    Attributes
    ----------
    mean, std : tuple of float
        Normalisation (x / 255 − mean) / std, a value for each of their channels.
    image_size : int
        Side, pixels.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    image_size: int

    def normalisation(self, channels: int) -> tuple[list[float], list[float]]:
        """Return mean and std for images of so many channels: of another number, the mean over those there were.

        The first convolution is fitted likewise, by its mean over the channels.
        """
        if channels == len(self.mean):
            return list(self.mean), list(self.std)
        return [float(np.mean(self.mean))], [float(np.mean(self.std))]


class TokenLayer(NamedTuple):
    """The last layer whose tokens decide the answer, of a network that has tokens in place of maps.

    Attributes
    ----------
    layer
        It gives (B, tokens, F), those of the image last: before them may stand one of the class, or registers.
    grid
        Rows and columns of the image's tokens.
    """

    layer: nn.Module
    grid: tuple[int, int]


def token_layer_of(backbone: nn.Module) -> TokenLayer | None:
    """Return the layer whose tokens show where a backbone looked; None where it has maps."""
    method: Any = getattr(backbone, "token_layer", None)
    found = method() if method is not None else None
    return found if isinstance(found, TokenLayer) else None


def data_config_of(backbone: nn.Module) -> DataConfig | None:
    """Return how a backbone wants its images prepared; None where it has no opinion."""
    found = getattr(backbone, "data_config", None)
    return found if isinstance(found, DataConfig) else None


def stages_of(backbone: nn.Module) -> list[list[str]]:
    """Return the names of a backbone's parameters by stage, from input to output: each of them once.

    A backbone says them by a method ``stages()``: for each stage the names, or the beginnings of names, of parameters.
    One without is a single stage.
    """
    names = [name for name, _ in backbone.named_parameters()]
    said: Any = getattr(backbone, "stages", None)
    if said is None or isinstance(said, nn.Module):  # some call their layers so
        return [names]
    stages = [_named(names, beginnings) for beginnings in said()]
    left = set(names).difference(*stages)
    if left or sum(map(len, stages)) != len(names):
        raise ValueError(
            f"{type(backbone).__name__}.stages() must have each parameter once; {sorted(left)[:3]} are in none"
        )
    return stages


def _named(names: list[str], beginnings: list[str]) -> list[str]:
    whole = tuple(f"{beginning}." for beginning in beginnings)
    return [name for name in names if name in beginnings or name.startswith(whole)]
