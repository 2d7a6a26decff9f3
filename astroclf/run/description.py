"""What the model of a run is, in plain values: the same in each of its checkpoints and in its package."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from astroclf.errors import ConfigError, TrainingError
from astroclf.inference.seen import SPLITS_SEEN, SeenImages
from astroclf.inference.spec import ModelSpec
from astroclf.run.data import Data
from astroclf.run.parts import Parts


def describe(parts: Parts) -> dict[str, Any]:
    """Return the attributes of `ModelSpec` that are known before the training: all but what its end finds out."""
    config, spec = parts.config, parts.spec
    return {
        "backbone": dict(spec.backbone),
        "head": dict(spec.head),
        "classes": list(parts.data.classes),
        "image_size": config.dataset.image_size,
        "channels": spec.channels,
        "reading": config.dataset.reading.to_plain(),  # how files become pixels, for whoever predicts on files
        "tones": dict(parts.data.cache.tones),
        "activation": str(parts.criterion.loss.activation),
        "augment": config.augment.values(),
        "tta_views": config.evaluation.tta_views,
    }


def seen_images(data: Data) -> SeenImages:
    """Return the digests of the images that the weights are fitted on, and chosen by."""
    digests, splits = data.cache.pixel_digests, data.splits
    return SeenImages.of(digests[splits.train], digests[splits.val])


def checkpoint_description(parts: Parts, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `registry.checkpoint` rebuilds the model from, beside the weights: plain values and tensors.

    Raises
    ------
    TrainingError
        It is of no model that could be packaged in the end: told now, and not after the training.
    """
    try:
        plain = ModelSpec(**describe(parts), facts=facts, weights_sha256="").to_plain()
    except ConfigError as error:
        raise TrainingError(f"A model of these settings could not be packaged: {error}.") from error
    seen = seen_images(parts.data)
    digests = {name: torch.from_numpy(getattr(seen, name).view("int64")) for name in SPLITS_SEEN}
    return {"spec": {name: value for name, value in plain.items() if name != "weights_sha256"}, "seen": digests}
