"""What a model said of N images, and the two kinds of file that keep it: CSV for people and Parquet for programs."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroclf.errors import DataError
from astroclf.evaluation.metrics import classification_metrics
from astroclf.util.atomic import atomic_path, write_text
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import pyarrow
    from pyarrow import parquet
else:
    pyarrow = lazy_import("pyarrow")
    parquet = lazy_import("pyarrow.parquet")

PROBABILITY_COLUMN = "p_"  # then the class's name
SET_SEPARATOR = "|"  # between the names of a prediction set
_PER_IMAGE = ("ids", "probabilities", "uncertainty", "labels", "chosen", "scores", "sets", "novelty")


@dataclass(frozen=True)
class ClassResult:
    """One class among labelled images that were predicted; values that have nothing to be computed from are NaN."""

    name: str
    images: int  # that belong to the class
    right: int  # of these, predicted as such
    accuracy: float  # right / images: the class's recall
    precision: float  # right / images predicted as this class
    f1: float
    uncertainty: float  # mean over the class's images


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a model said of N images.

    Attributes
    ----------
    classes : tuple of str
        In label order.
    ids : (N,) str
    probabilities : (N, C) float
        Each row sums to 1.
    uncertainty : (N,) float
        Estimated probability that the prediction is wrong.
    labels : (N,) int or None
        Index into `classes`; None where the images have no labels.
    losses : mapping of str to float
        Means over the images of the training loss (``loss``) and of its terms, where they were computed.
    chosen : (N,) int or None
        The predicted classes, where they are known apart from the probabilities: those of a CSV file are rounded.
    scores : (N,) float or None
        How sure the model is of each label, as a probability, where it has a better measure than the highest of the
        probabilities.
    sets : (N, C) bool or None
        The classes in the prediction set of each image, where the model gives such sets.
    novelty : (N,) float or None
        How unlike the training images each is, beyond 1 more than nearly all validation images, where the model knows.
    """

    classes: tuple[str, ...]
    ids: np.ndarray
    probabilities: np.ndarray
    uncertainty: np.ndarray
    labels: np.ndarray | None = None
    losses: Mapping[str, float] = field(default_factory=dict)
    chosen: np.ndarray | None = None
    scores: np.ndarray | None = None
    sets: np.ndarray | None = None
    novelty: np.ndarray | None = None

    def __post_init__(self) -> None:
        per_image = (getattr(self, name) for name in _PER_IMAGE)
        lengths = {len(values) for values in per_image if values is not None}
        if len(lengths) != 1 or self.probabilities.shape[1:] != (len(self.classes),):
            raise ValueError(
                f"lengths differ: {lengths}, probabilities {self.probabilities.shape}, {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def truth(self) -> np.ndarray:
        """The labels, (N,) int, of images that must have some: otherwise it is a ValueError."""
        if self.labels is None:
            raise ValueError("these images have no labels")
        return self.labels

    @cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class of each image, (N,) int."""
        return self.probabilities.argmax(axis=1) if self.chosen is None else self.chosen

    @cached_property
    def confidence(self) -> np.ndarray:
        """The estimated probability that the label is right, (N,) float."""
        return self.probabilities.max(axis=1) if self.scores is None else self.scores

    @cached_property
    def set_names(self) -> np.ndarray:
        """The prediction set of each image in words, (N,) str: names in label order, joined by ``|``.

        Of a model that gives no sets, it is a ValueError.
        """
        if self.sets is None:
            raise ValueError("these predictions have no sets")
        kinds, kind_N = np.unique(self.sets, axis=0, return_inverse=True)
        names = [
            SET_SEPARATOR.join(name for name, inside in zip(self.classes, row, strict=True) if inside) for row in kinds
        ]
        return np.array(names, dtype=object)[kind_N.reshape(-1)]

    @cached_property
    def right(self) -> np.ndarray:
        """The images whose prediction is their label, (N,) bool."""
        return self.predicted == self.truth

    @property
    def unlike_training(self) -> np.ndarray | None:
        """Which images are more unlike the training images than nearly all validation images, (N,) bool."""
        return None if self.novelty is None else self.novelty > 1

    @cached_property
    def confusion(self) -> np.ndarray:
        """The confusion matrix, (C, C) int: rows are true classes, columns predicted ones."""
        size = len(self.classes)
        return np.bincount(self.truth * size + self.predicted, minlength=size * size).reshape(size, size)

    def take(self, index: slice | Sequence[int] | np.ndarray) -> Predictions:
        """Return the predictions of only these images, in this order; without losses, which are means over all."""

        def taken(values: np.ndarray | None) -> np.ndarray | None:
            return None if values is None else values[index]

        return Predictions(
            self.classes,
            self.ids[index],
            self.probabilities[index],
            self.uncertainty[index],
            labels=taken(self.labels),
            chosen=taken(self.chosen),
            scores=taken(self.scores),
            sets=taken(self.sets),
            novelty=taken(self.novelty),
        )

    def metrics(self) -> dict[str, float]:
        """Compute the losses and all of `classification_metrics`."""
        figures = classification_metrics(
            self.probabilities, self.truth, self.classes, self.uncertainty, confidence_N=self.confidence
        )
        return {**self.losses, **figures}

    def mistakes(self, count: int) -> np.ndarray:
        """Return the indices of at most `count` wrong predictions, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]

    def by_class(self) -> list[ClassResult]:
        """Return one entry a class, in label order."""
        entries = []
        for index, name in enumerate(self.classes):
            members = self.truth == index
            right, images, predicted = self.confusion[index, index], members.sum(), self.confusion[:, index].sum()
            entries.append(
                ClassResult(
                    name=name,
                    images=int(images),
                    right=int(right),
                    accuracy=_ratio(right, images),
                    precision=_ratio(right, predicted),
                    f1=_ratio(2 * right, images + predicted),
                    uncertainty=float(self.uncertainty[members].mean()) if images else math.nan,
                )
            )
        return entries


def joined(parts: Sequence[Predictions]) -> Predictions:
    """Return what a model said of the images of all parts, one after the other; with losses where all have them.

    Raises
    ------
    ValueError
        There are no parts.
    """

    if len(parts) == 1:
        return parts[0]

    def column(name: str) -> np.ndarray | None:
        values = [getattr(part, name) for part in parts]
        return None if values[0] is None else np.concatenate(values)

    columns = {name: column(name) for name in _PER_IMAGE}
    total, names = sum(map(len, parts)), [n for n in parts[0].losses if all(n in part.losses for part in parts)]
    losses = {name: sum(len(part) * part.losses[name] for part in parts) / total for name in names}
    return Predictions(classes=parts[0].classes, losses=losses, **columns)  # type: ignore[arg-type]


def write_predictions(path: str | Path, predictions: Predictions) -> None:
    """Write ``predictions.csv``, or Parquet where the path ends in ``.parquet``, atomically.

    Columns: ``id``, ``label`` (left out of images without labels), ``prediction``, ``p_<class>`` for each class,
    ``uncertainty``, ``confidence``, ``prediction_set`` (names joined by ``|``) where there are sets, and ``novelty``
    where the model knows it. CSV holds seven digits, Parquet the whole numbers.
    """
    path, names = Path(path), np.array(predictions.classes, dtype=object)
    texts = {"id": predictions.ids}
    if predictions.labels is not None:
        texts["label"] = names[predictions.labels]
    texts["prediction"] = names[predictions.predicted]
    if predictions.sets is not None:
        texts["prediction_set"] = predictions.set_names
    numbers = {f"{PROBABILITY_COLUMN}{name}": predictions.probabilities[:, k] for k, name in enumerate(names)}
    numbers["uncertainty"] = predictions.uncertainty
    numbers["confidence"] = predictions.confidence
    if predictions.novelty is not None:
        numbers["novelty"] = predictions.novelty
    if path.suffix == ".parquet":
        with atomic_path(path) as temporary:
            parquet.write_table(pyarrow.table({name: list(text) for name, text in texts.items()} | numbers), temporary)
        return
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*texts, *numbers])
    for *words, values in zip(*texts.values(), np.column_stack(list(numbers.values())), strict=True):
        writer.writerow([*words, *(f"{value:.7g}" for value in values)])
    write_text(path, file.getvalue())


def read_predictions(path: str | Path) -> Predictions:
    """Read what `write_predictions` wrote.

    Raises
    ------
    DataError
        It cannot be read, is no such file, or names an image twice.
    """
    path = Path(path)
    try:
        columns = parquet.read_table(path).to_pydict() if path.suffix == ".parquet" else _csv_columns(path)
        classes = tuple(
            name.removeprefix(PROBABILITY_COLUMN) for name in columns if name.startswith(PROBABILITY_COLUMN)
        )
        index = {name: k for k, name in enumerate(classes)}
        ids = np.array(columns["id"], dtype=str)
        chosen = np.array([index[name] for name in columns["prediction"]], dtype=np.int64)
        labels = np.array([index[name] for name in columns["label"]], dtype=np.int64) if "label" in columns else None
        numbers = [columns[f"{PROBABILITY_COLUMN}{name}"] for name in classes]
        probabilities = np.array(numbers, dtype=np.float64).T.reshape(len(ids), len(classes))
        uncertainty = np.array(columns["uncertainty"], dtype=np.float64)
        scores = np.array(columns["confidence"], dtype=np.float64)
        sets = _sets(columns["prediction_set"], classes) if "prediction_set" in columns else None
        novelty = np.array(columns["novelty"], dtype=np.float64) if "novelty" in columns else None
    except (OSError, ValueError, TypeError, IndexError, KeyError, csv.Error) as error:
        raise DataError(
            f"{path} cannot be read as a table of predictions ({type(error).__name__}: {error})."
        ) from error
    if not len(ids) or len(set(ids.tolist())) != len(ids):
        raise DataError(f"{path} {'repeats an id' if len(ids) else 'holds no predictions'}.")
    return Predictions(
        classes,
        ids,
        probabilities,
        uncertainty,
        labels=labels,
        chosen=chosen,
        scores=scores,
        sets=sets,
        novelty=novelty,
    )


def _sets(texts: Sequence[str], classes: tuple[str, ...]) -> np.ndarray:
    """Return the sets that names joined by ``|`` mean, (N, C) bool; a class's own name may have one, too."""
    sets = np.zeros((len(texts), len(classes)), bool)
    members = {text: _members(text, classes) if text else [] for text in set(texts)}  # no class may be in a set
    for row, text in zip(sets, texts, strict=True):
        row[members[text]] = True
    return sets


def _members(text: str, classes: tuple[str, ...], first: int = 0) -> list[int]:
    """Return the labels, from `first` on and in their order, whose joined names are a text."""
    for label in range(first, len(classes)):
        name, separator = classes[label], SET_SEPARATOR
        if text == name:
            return [label]
        if text.startswith(name + separator):
            with suppress(ValueError):
                return [label, *_members(text.removeprefix(name + separator), classes, label + 1)]
    raise ValueError(f"{text!r} is no set of these classes")


def _csv_columns(path: Path) -> dict[str, list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return {name: [row[place] for row in rows] for place, name in enumerate(header)}


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else math.nan
