"""Answers and embeddings that ``predict features=true`` wrote, which are read in place of asking the network again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.errors import ConfigError, DataError
from astroclf.evaluation.predictions import PROBABILITY_COLUMN, Predictions
from astroclf.inference.inputs import STANDARD_INPUT
from astroclf.inference.predictor import Predictor
from astroclf.use.predict.rows import FEATURE, PATH
from astroclf.util.lazy import lazy_import
from astroclf.util.tables import PARQUET_SUFFIX

if TYPE_CHECKING:
    from pyarrow import parquet
else:
    parquet = lazy_import("pyarrow.parquet")

SAME = 0.99  # cosine of an image's embedding as it is written and as it is computed now: bf16 rounds by 0.4 % at most


@dataclass(frozen=True, eq=False)
class WrittenAnswers:
    """What a model said of images before, by their names.

    Attributes
    ----------
    path
        The table.
    answers
        Those that there are: images without an answer are left out. Their ids are the names.
    features
        (N, F) float32, the embedding of each.
    record
        What `predict` noted beside the table: the model, the inputs and the column, as they were named; empty where
        the table lies alone.
    """

    path: Path
    answers: Predictions
    features: np.ndarray
    record: dict[str, Any]

    @property
    def model(self) -> str:
        """The name of the model that answered.

        Raises
        ------
        ConfigError
            Nothing says which it was.
        """
        if not isinstance(found := self.record.get("model"), str):
            raise ConfigError(
                f"Nothing beside {self.path} says which model gave its answers ({_record_of(self.path)} would). Name "
                f"the model, then the table: astroclf explore MODEL {self.path}."
            )
        return found

    @property
    def inputs(self) -> tuple[list[str], str | None]:
        """What was asked about, as it was named, and the column; the table itself where that cannot be read again."""
        words = self.record.get("inputs")
        if not words or STANDARD_INPUT in words:
            return [str(self.path)], None
        return list(words), self.record.get("column")

    def rows_of(self, names: Sequence[str]) -> np.ndarray:
        """Return where each image's answer is, (K,) int; -1 where there is none."""
        row_of = {name: row for row, name in enumerate(self.answers.ids.tolist())}
        return np.array([row_of.get(name, -1) for name in names], dtype=np.int64)

    def check(self, model: Predictor, images_NHWC: np.ndarray, rows: np.ndarray) -> None:
        """Refuse a table whose embeddings are of another model, or of other images of the same names.

        Parameters
        ----------
        images_NHWC, rows
            Some images, prepared, and where their answers are.

        Raises
        ------
        ConfigError
            It is one.
        """
        own, written = model.embed(images_NHWC), self.features[rows]
        if own.shape != written.shape or model.classes != self.answers.classes:
            raise ConfigError(
                f"The answers in {self.path} are of another model: embeddings or classes differ in number."
            )
        lengths = np.linalg.norm(own, axis=1) * np.linalg.norm(written, axis=1)
        cosine = float(np.median((own * written).sum(axis=1) / np.maximum(lengths, 1e-12)))
        if cosine < SAME:
            raise ConfigError(
                f"The embeddings in {self.path} are not what this model makes of these images (cosine {cosine:.2f}): "
                "they are of another model, or the images have changed. Name the model that gave them, or the images."
            )


def written_answers(path: Path) -> WrittenAnswers | None:
    """Read a table of answers with their embeddings; None where a file is none.

    Raises
    ------
    DataError
        It is one, and cannot be read or has no answer.
    """
    if path.suffix.lower() != PARQUET_SUFFIX or not path.is_file():
        return None
    try:
        names = parquet.read_schema(path).names
        features = [name for name in names if name.removeprefix(FEATURE).isdigit() and name.startswith(FEATURE)]
        classes = tuple(name.removeprefix(PROBABILITY_COLUMN) for name in names if name.startswith(PROBABILITY_COLUMN))
        if not features or not classes:
            return None
        said = [PATH, "label", "confidence", "uncertainty", *(f"{PROBABILITY_COLUMN}{name}" for name in classes)]
        table = parquet.read_table(path, columns=[*said, *features])
        table = table.filter(table["label"].is_valid())
        numbers = {name: table[name].to_numpy() for name in table.column_names[2:]}
        code = {name: number for number, name in enumerate(classes)}
        chosen = np.array([code[name] for name in table["label"].to_pylist()], dtype=np.int64)
        ids = np.array(table[PATH].to_pylist(), dtype=np.str_)
    except (OSError, ValueError, KeyError, LookupError) as error:
        raise DataError(
            f"{path} is not a table of answers that can be read ({type(error).__name__}: {error})."
        ) from error
    if not len(ids):
        raise DataError(f"{path} has no image with an answer.")
    probabilities = np.stack([numbers[name] for name in said[4:]], axis=1)
    answers = Predictions(
        classes, ids, probabilities, numbers["uncertainty"], chosen=chosen, scores=numbers["confidence"]
    )
    features_NF = np.stack([numbers[name] for name in features], axis=1).astype(np.float32)
    return WrittenAnswers(path, answers, features_NF, _read_record(path))


def _record_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _read_record(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(_record_of(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
