"""How fast the parts of a training train here, measured by a few steps before it begins."""

from __future__ import annotations

import time
from itertools import chain, count, islice

from astroclf.engine.training_step import TrainingStep
from astroclf.run.parts import Parts

TIMED_STEPS = 4  # after one that is not: what takes its time once does so there


def training_step(parts: Parts) -> TrainingStep:
    """Return the steps of these parts, with a new optimizer, their network in training mode on its device."""
    optimizer = parts.optimizer()
    parts.network.train()
    settings, convolutions = parts.config.trainer, parts.convolutions()
    return TrainingStep(parts.network, parts.criterion, optimizer, parts.precision, settings, convolutions)


def images_per_second(parts: Parts, timed_steps: int = TIMED_STEPS) -> float:
    """Measure how fast these parts train when all of the network does; they are spent afterwards."""
    step = training_step(parts)
    seconds, images = 0.0, 0
    batches = chain.from_iterable(parts.loaders["train"].epoch(epoch) for epoch in count())
    for number, batch in enumerate(islice(batches, 1 + timed_steps)):
        began = time.monotonic()
        float(step.take([batch]).loss)  # waits for the device
        if number:  # what takes its time once does so in the first
            seconds, images = seconds + time.monotonic() - began, images + len(batch.labels_B)
    return images / seconds
