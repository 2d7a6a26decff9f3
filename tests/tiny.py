"""A network as small as one can be, and a package of it."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from astroclf.evaluation.image_statistics import measure
from astroclf.evaluation.novelty import fit_novelty
from astroclf.inference.profile import TrainingProfile
from astroclf.inference.seen import SeenImages
from astroclf.models.classifier import Classifier
from astroclf.registry.package import load_package, write_again, write_package
from tests.data.augment.recipes import recipe_values


class Tiny(nn.Module):
    """It is sensitive to how an image is turned."""

    def __init__(self, image_size: int = 32, channels: int = 3, weights: str | None = None) -> None:
        super().__init__()
        self.num_features = 8
        self.stages = nn.Sequential(nn.Conv2d(channels, 8, 5, stride=3, padding=2), nn.BatchNorm2d(8), nn.ReLU())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.stages(images_BCHW).mean(dim=(2, 3))


@contextmanager
def named_as_ours() -> Iterator[type[nn.Module]]:
    """Give `Tiny` a name of astroclf, since packages build no other networks."""
    module = types.ModuleType("astroclf.models.tiny")
    module.Tiny = Tiny  # type: ignore[attr-defined]
    Tiny.__module__ = module.__name__
    sys.modules[module.__name__] = module
    yield Tiny
    del sys.modules[module.__name__]


def write_tiny_package(folder: Path, seen: SeenImages | None = None, **changes: Any) -> Path:
    """Write a package of `Tiny` with random weights: 32 px, three classes; `changes` are of its description."""
    spec: dict[str, Any] = {
        "backbone": {"_target_": "astroclf.models.tiny.Tiny"},
        "head": {"uncertainty": True},
        "classes": ["Merging", "Round Smooth", "Sb (barred)"],
        "image_size": 32,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
        **changes,
    }
    torch.manual_seed(0)
    network = Classifier(Tiny(channels=spec.get("channels", 3)), len(spec["classes"]), **spec["head"])
    return write_package(folder, spec, network.state_dict(), seen)


def noise(count: int, seed: int, spread: float = 20) -> np.ndarray:
    """Draw pictures of nothing but noise, (count, 32, 32, 3) uint8."""
    return np.clip(np.random.default_rng(seed).normal(90, spread, (count, 32, 32, 3)), 0, 255).astype(np.uint8)


def with_profile(package: Path, folder: Path, seed: int = 0) -> Path:
    """Write a tiny model again, as one that was trained on `noise`: what is noisier is unlike its training images."""
    model = load_package(package, "cpu", "fp32")
    training, validation = noise(60, seed), noise(40, seed + 1)
    novelty = fit_novelty(model.embed(training), np.arange(60) % 3, model.embed(validation), 0.01)
    model.profile = TrainingProfile(novelty, measure(training), model.embed(validation).astype(np.float16))
    return write_again(folder, model)
