"""What the inputs of a verb name that asks a model about images: counted before anything is decoded, then read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np

from astroclf.errors import DataError
from astroclf.evaluation.image_statistics import spread_evenly
from astroclf.inference.inputs import Inputs, Survey
from astroclf.inference.preparation import Preparation
from astroclf.inference.samples import Sample, prepare_ahead
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar


@dataclass(frozen=True)
class ReadImages:
    """Some of the inputs as the model takes them.

    Attributes
    ----------
    names
        Of the images that could be read.
    images_NHWC
        (N, S, S, channels) uint8.
    errors
        What is wrong with each image that could not, by its name.
    """

    names: list[str]
    images_NHWC: np.ndarray
    errors: dict[str, str]


def surveyed_inputs(words: Sequence[str], preparation: Preparation, column: str | None = None) -> tuple[Inputs, Survey]:
    """List what ``inputs=`` names, and say how many images that are and what is left out.

    Raises
    ------
    ConfigError
        A word names nothing.
    DataError
        There is no image, or a table or array that cannot be read.
    """
    inputs = Inputs(words, preparation.reading, preparation.channels, column, sys.stdin.buffer)
    survey = inputs.survey()
    log.info("%s", survey.account())
    if not survey.count:
        raise DataError(f"inputs={' '.join(words)[:200]} holds no image: {survey.account()}")
    return inputs, survey


def spread(inputs: Inputs, count: int, limit: int) -> list[Sample]:
    """Take at most so many of the `count` inputs, evenly from the first to the last."""
    places = set(spread_evenly(count, limit).tolist())
    return [sample for place, sample in enumerate(islice(inputs.samples(), count)) if place in places]


def read_images(
    preparation: Preparation, samples: Sequence[Sample], batch_size: int, num_workers: int | None
) -> ReadImages:
    """Read images, and warn of those that cannot be read.

    Raises
    ------
    DataError
        None could be read.
    """
    names: list[str] = []
    errors: dict[str, str] = {}
    size, channels = preparation.image_size, preparation.channels
    parts = [np.zeros((0, size, size, channels), np.uint8)]
    blocks = prepare_ahead(preparation, samples, batch_size, num_workers)
    with ProgressBar("Reading", len(samples)) as bar, closing(blocks):
        for block in blocks:
            parts.append(block.images_NHWC)
            names += [block.samples[place].name for place in block.usable.tolist()]
            errors |= {block.samples[place].name: text for place, text in block.errors.items()}
            bar.advance(len(block.samples))
    if not names:
        raise DataError(f"None of the {len(samples)} images could be read; the first: {next(iter(errors.values()))}")
    for text in list(errors.values())[:10]:
        log.warning("%s", text)
    return ReadImages(names, np.concatenate(parts), errors)
