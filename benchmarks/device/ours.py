"""A training with everything on, step for step as `Trainer` takes it; what is around it stays away."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain, count, islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from device.race import CLASSES, compiled, pictures
from torch import nn

from astroclf.data.augment.recipe import Augmentation
from astroclf.data.loader import Batch, BatchLoader, PixelBuffer
from astroclf.engine.meter import StepMeter
from astroclf.engine.schedule import OneCycle
from astroclf.engine.training_step import TrainingStep
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.network import NetworkSpec, build_network
from astroclf.models.precision import choose_precision
from astroclf.run.parts import new_optimizer, to_device, tuned_convolutions
from astroclf.settings.training import OptimizerSettings, TrainerSettings
from astroclf.settings.yaml_files import yaml_values

LONG = 10**6  # steps of the schedule; no training here comes near its end


def network(name: str, size: int, **options: Any) -> nn.Module:
    """Return the classifier that ``backbone=name`` builds, with random weights and the head of `conf/config.yaml`."""
    torch.manual_seed(0)
    head = yaml_values("config")["head"]
    head.pop("uncertainty_weight")
    backbone = {**yaml_values(f"backbone/{name}"), **options}
    return build_network(NetworkSpec(backbone, CLASSES, size, 3, head))


def trainer_settings(**changes: Any) -> TrainerSettings:
    return TrainerSettings(**{**yaml_values("trainer/default"), **changes})


class Training:
    """A training of a network on noise, by the settings of ``conf/``, with the augmentation of Galaxy10.

    Parameters
    ----------
    images
        (N, size, size, 3) uint8.
    place
        Where they are kept, as ``dataset.keep_images_on`` names it.
    changes
        Of ``conf/trainer/default.yaml``.
    options
        Of the backbone.
    """

    def __init__(
        self,
        name: str,
        images: np.ndarray,
        batch: int,
        device: torch.device,
        *,
        place: str = "device",
        compiles: bool = False,
        changes: Mapping[str, Any] = MappingProxyType({}),
        **options: Any,
    ) -> None:
        self.settings = trainer_settings(batch_size=batch, device=device.type, **changes)
        self.precision = choose_precision(self.settings.precision, device)
        self.network = network(name, images.shape[1], **options)
        labels = np.arange(len(images)) % CLASSES
        augmentation = Augmentation(**_without_target(yaml_values("augment/galaxy10")))
        self.loader = BatchLoader(
            PixelBuffer(images, place, device),  # type: ignore[arg-type]
            labels,
            np.arange(len(images)),
            batch_size=batch,
            augmentation=augmentation,
            seed=0,
            train=True,
        )
        loss = _without_target(yaml_values("loss/cross_entropy"))
        self.criterion = Criterion(
            CrossEntropy(np.bincount(labels, minlength=CLASSES), loss["beta"], loss["label_smoothing"]),
            yaml_values("config")["head"]["uncertainty_weight"],
        ).to(device)
        to_device(self.network, self.settings, self.precision)
        given = yaml_values("optimizer/adamw")
        self.optimizer = new_optimizer(OptimizerSettings(target=given.pop("_target_"), **given), self.network)
        self.schedule = OneCycle(given["lr"], LONG, **_without_target(yaml_values("scheduler/onecycle")))
        if compiles:
            compiled(self.network)
            self.loader.compile_augmentation()
        convolutions = tuned_convolutions(self.settings, self.precision)
        self.step = TrainingStep(
            self.network, self.criterion, self.optimizer, self.precision, self.settings, convolutions
        )
        self.meter = StepMeter(device, curve_every=self.settings.epochs)
        self.network.train()
        self.steps = 0
        self._endless: Iterator[Batch] = chain.from_iterable(self.loader.epoch(epoch) for epoch in count())

    def run(self, steps: int) -> None:
        """Take so many further steps."""
        for batch in islice(self._endless, steps):
            self.take(batch)

    def epoch(self, epochs: int) -> None:
        """Go through all images so many times."""
        for epoch in range(epochs):
            for batch in self.loader.epoch(epoch):
                self.take(batch)

    def take(self, batch: Batch) -> None:
        lr = self.schedule.apply(self.optimizer, self.steps)
        taken = self.step.take([batch])
        self.meter.add(self.steps, lr, taken.sums, taken.images, taken.norm)
        self.steps += 1


def on_disk(folder: Path, size: int, images: int) -> np.memmap:
    """Return noise that stands in a file, as a cache of decoded images does."""
    path = folder / f"{size}.npy"
    np.save(path, pictures(size, images))
    return np.load(path, mmap_mode="r")


def _without_target(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if key != "_target_"}
