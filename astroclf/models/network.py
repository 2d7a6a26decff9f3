"""The one way in which a training and a model package build a network: from its description in plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from astroclf.errors import ConfigError
from astroclf.models.classifier import Classifier
from astroclf.settings.components import locate, parameters_of


@dataclass(frozen=True)
class NetworkSpec:
    """The description of a network, in plain values.

    Attributes
    ----------
    backbone : mapping
        ``_target_``, the dotted name of its class, and keyword arguments of that class.
    num_classes : int
    image_size : int
        Side of the images that the network sees, pixels.
    channels : int
    head : mapping
        Keyword arguments of `Classifier`.
    """

    backbone: Mapping[str, Any]
    num_classes: int
    image_size: int
    channels: int = 3
    head: Mapping[str, Any] = field(default_factory=dict)


def build_network(
    spec: NetworkSpec, *, backbone: nn.Module | None = None, output_bias: float | None = None
) -> Classifier:
    """Build the network that a description asks for.

    Parameters
    ----------
    backbone : nn.Module, optional
        That of `spec`, where it was built before the number of classes was known. None: it is built here, with random
        weights.
    output_bias : float, optional
        See `Classifier.set_output_bias`.

    Raises
    ------
    ConfigError
        The backbone is none of the classes that may be named.
    TypeError, ValueError
        A class takes no such options.
    """
    network = Classifier(backbone if backbone is not None else _build_backbone(spec), spec.num_classes, **spec.head)
    if output_bias is not None:
        network.set_output_bias(output_bias)
    return network


def _build_backbone(spec: NetworkSpec) -> nn.Module:
    options = dict(spec.backbone)
    cls = locate("backbone", str(options.pop("_target_", "")))
    if not issubclass(cls, nn.Module):
        raise ConfigError(f"'backbone._target_' is {cls.__module__}.{cls.__name__}, which is no network.")
    offered = {"weights": None, "image_size": spec.image_size, "channels": spec.channels}
    return cls(**options | {key: value for key, value in offered.items() if key in parameters_of(cls)})
