"""Images as a model sees them: for each its embedding, the answer, a thumbnail, and the label where one is known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from astroclf.errors import ConfigError, DataError
from astroclf.evaluation.predictions import Predictions, joined
from astroclf.inference.inputs import Inputs
from astroclf.inference.predictor import Predictor
from astroclf.inference.samples import Sample, prepare_ahead
from astroclf.use.explore.written import WrittenAnswers
from astroclf.util.logs import log
from astroclf.util.pictures import as_rgb
from astroclf.util.progress import ProgressBar

OF_FOLDER = "folder"  # labels=folder: an image's label is the name of the folder that it lies in
ERRORS_LISTED = 20
BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Embedded:
    """N images as a model sees them.

    Attributes
    ----------
    answers
        What the model says; `ids` are the images as they were named, and there are no labels.
    features
        (N, F) float32, what the backbone makes of each.
    thumbnails
        (N, side, side, 3) uint8.
    labels
        (N,) str, empty where none is known.
    failed
        How many images could not be read.
    """

    answers: Predictions
    features: np.ndarray
    thumbnails: np.ndarray
    labels: np.ndarray
    failed: int = 0

    def __len__(self) -> int:
        return len(self.features)


def embed(
    model: Predictor,
    inputs: Inputs,
    rows: np.ndarray,
    *,
    labels: str | None,
    thumbnail_side: int,
    num_workers: int | None = None,
    written: WrittenAnswers | None = None,
) -> Embedded:
    """Compute the embedding and the answer of some of the inputs; threads decode ahead.

    Parameters
    ----------
    rows
        Places of the images among the inputs, ascending.
    labels
        A column that is carried along, `OF_FOLDER`, or None.
    written
        Where these are read of images that are there, in place of asking the network; all of `rows` must be.

    Raises
    ------
    ConfigError
        There is no such column, or what is written is of another model.
    DataError
        No image could be read.
    """
    if labels not in (None, OF_FOLDER, *inputs.columns):
        known = ", ".join(inputs.columns) or "none: they are no table"
        raise ConfigError(f"labels={labels} is no column of the inputs, and not 'folder'. Their columns: {known}.")
    answers, truths, errors = list[Predictions](), list[str](), list[str]()
    features, thumbnails = [], []
    blocks = prepare_ahead(model.preparation, _at(rows, inputs.samples()), BATCH_SIZE, num_workers)
    with ProgressBar("Looking", len(rows)) as bar, closing(blocks):
        for block in blocks:
            errors += block.errors.values()
            bar.advance(len(block.samples))
            if not len(block.usable):
                continue
            usable = [block.samples[place] for place in block.usable]
            if written is None:
                said, embedded = (
                    model.classify(block.images_NHWC, BATCH_SIZE),
                    model.embed(block.images_NHWC, BATCH_SIZE),
                )
            else:
                places = written.rows_of([sample.name for sample in usable])
                if not answers:
                    written.check(model, block.images_NHWC, places)
                said, embedded = written.answers.take(places), written.features[places]
            answers.append(_named(said, usable))
            features.append(embedded)
            thumbnails.append(_thumbnails(block.images_NHWC, thumbnail_side))
            truths += [_label(sample, labels) for sample in usable]
    for text in errors[:ERRORS_LISTED]:
        log.warning("%s", text)
    if len(errors) > ERRORS_LISTED:
        log.warning("%s more images could not be read.", f"{len(errors) - ERRORS_LISTED:,}")
    if not answers:
        raise DataError("No image could be read: there is nothing to explore.")
    parts = (np.concatenate(features), np.concatenate(thumbnails), np.array(truths))
    return Embedded(joined(answers), *parts, failed=len(errors))


def _at(rows: np.ndarray, samples: Iterable[Sample]) -> Iterator[Sample]:
    wanted = set(rows.tolist())
    return (sample for row, sample in enumerate(samples) if row in wanted)


def _named(said: Predictions, samples: list[Sample]) -> Predictions:
    return replace(said, ids=np.array([sample.name for sample in samples], dtype=np.str_))


def _label(sample: Sample, labels: str | None) -> str:
    if labels == OF_FOLDER:
        return Path(sample.name).absolute().parent.name
    return "" if labels is None else sample.carried.get(labels, "").strip()


def _thumbnails(images_NHWC: np.ndarray, side: int) -> np.ndarray:
    pictures = [cv2.resize(as_rgb(image), (side, side), interpolation=cv2.INTER_AREA) for image in images_NHWC]
    return np.stack(pictures)
