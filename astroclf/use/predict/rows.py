"""Rows of the table of answers: what is known of each image, what the model says of it, or what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroclf.inference.answers import answer_columns
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.samples import Prepared
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import pyarrow
else:
    pyarrow = lazy_import("pyarrow")

PATH, ERROR = "path", "error"  # columns of ours beside those of the answer
RENAMED = "catalog_"  # before the name of a carried column that one of ours has
FEATURE = "f_"  # then a number: one coordinate of the embedding


class AnswerRows:
    """Makes rows of decoded images, by one model.

    Parameters
    ----------
    carried
        Columns that come with the images.
    batch_size
        Images that the network gets at once.
    features
        Whether the embeddings are columns, too.

    Attributes
    ----------
    carried : dict of str to str
        What these columns are called in the rows: differently where they have the name of one of ours.
    schema : pyarrow.Schema
        Of the rows.
    """

    def __init__(
        self, predictor: Predictor | Ensemble, carried: Sequence[str], batch_size: int, *, features: bool
    ) -> None:
        self.predictor, self.batch_size, self.features = predictor, batch_size, features
        preparation = predictor.preparation
        size, channels = preparation.image_size, preparation.channels
        nothing = Prepared((), np.zeros((0, size, size, channels), np.uint8), np.zeros(0, np.int64), {})
        self.carried = _renamed(carried, {PATH, ERROR, *self._answers(nothing)})
        self.schema: pyarrow.Schema = self.of(nothing).schema

    def of(self, block: Prepared) -> pyarrow.RecordBatch:
        """Return a row for each sample of a block."""
        count = len(block.samples)
        columns = {PATH: _texts(sample.name for sample in block.samples)}
        for name, column in self.carried.items():
            columns[column] = _texts(sample.carried.get(name, "") for sample in block.samples)
        for name, values in self._answers(block).items():
            columns[name] = _spread(values, block.usable, count)
        columns[ERROR] = _texts(block.errors.get(place, "") for place in range(count))
        return pyarrow.RecordBatch.from_pydict(columns)

    def _answers(self, block: Prepared) -> dict[str, np.ndarray]:
        columns = answer_columns(self.predictor.classify(block.images_NHWC, self.batch_size))
        if self.features:
            features_NF = self.predictor.embed(block.images_NHWC, self.batch_size)
            columns |= {f"{FEATURE}{index}": features_NF[:, index] for index in range(features_NF.shape[1])}
        return columns


def _renamed(carried: Sequence[str], ours: set[str]) -> dict[str, str]:
    """Give each carried column a name that none of ours has; formats of tables do not tell cases apart."""
    taken, names = {name.lower() for name in ours}, {}
    for name in carried:
        new = name
        while new.lower() in taken:
            new = RENAMED + new
        taken.add(new.lower())
        names[name] = new
    if other := [f"{name} is {new}" for name, new in names.items() if name != new]:
        log.info("Columns of the input whose names the answers have are called otherwise: %s.", ", ".join(other))
    return names


def _texts(texts: Iterable[str]) -> pyarrow.Array:
    """Return a column of texts; bytes of a file's name that are no text are spelled out."""
    return pyarrow.array([text.encode("utf-8", "backslashreplace").decode() for text in texts], pyarrow.string())


def _spread(values: np.ndarray, places: np.ndarray, count: int) -> pyarrow.Array:
    """Return a column of `count` values, null but at some places."""
    if values.dtype.kind in "OU":
        texts = np.full(count, None, dtype=object)
        texts[places] = values
        return pyarrow.array(texts.tolist(), pyarrow.string())
    numbers, missing = np.zeros(count, values.dtype), np.ones(count, bool)
    numbers[places], missing[places] = values, False
    return pyarrow.array(numbers, mask=missing)
