"""The predictions of a model on a test set, and the files and the table that they are kept in."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from astroclf.evaluation.metrics import METRICS
from astroclf.util.atomic import write_text


@dataclass(frozen=True)
class ClassResult:
    """One class of the test set. Values that have nothing to be computed from are NaN."""

    name: str
    images: int  # that belong to the class
    right: int  # of these, predicted as such
    accuracy: float  # right / images: the class's recall
    precision: float  # right / images predicted as this class
    f1: float
    uncertainty: float  # mean over the class's images


@dataclass(frozen=True)
class Results:
    """What a model said of N labelled images.

    Attributes
    ----------
    classes : tuple of str
        In label order.
    ids : (N,) str
    labels : (N,) int
    probabilities : (N, C) float
    uncertainty : (N,) float
        Estimated probability that the prediction is wrong.
    """

    classes: tuple[str, ...]
    ids: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    uncertainty: np.ndarray

    def __post_init__(self) -> None:
        shapes = {len(self.ids), len(self.labels), len(self.probabilities), len(self.uncertainty)}
        if len(shapes) != 1 or self.probabilities.shape[1:] != (len(self.classes),):
            raise ValueError(
                f"lengths differ: {shapes}, probabilities {self.probabilities.shape}, {len(self.classes)} classes"
            )

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def predictions(self) -> np.ndarray:
        """(N,) int, the most probable class."""
        return self.probabilities.argmax(axis=1)

    @cached_property
    def confidence(self) -> np.ndarray:
        """(N,) float, the probability of the predicted class."""
        return self.probabilities.max(axis=1)

    @cached_property
    def right(self) -> np.ndarray:
        """(N,) bool."""
        return self.predictions == self.labels

    @cached_property
    def confusion(self) -> np.ndarray:
        """(C, C) int: rows are true classes, columns predicted ones."""
        size = len(self.classes)
        return np.bincount(self.labels * size + self.predictions, minlength=size * size).reshape(size, size)

    def mistakes(self, count: int) -> np.ndarray:
        """Indices of wrong predictions, the most confident first."""
        wrong = np.flatnonzero(~self.right)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")][:count]

    def by_class(self) -> list[ClassResult]:
        """One entry a class, in label order."""
        rows = []
        for index, name in enumerate(self.classes):
            members = self.labels == index
            right, images, predicted = self.confusion[index, index], members.sum(), self.confusion[:, index].sum()
            rows.append(
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
        return rows


def write_predictions(path: str | Path, results: Results) -> None:
    """``predictions.csv``: id, label, prediction, ``p_<class>`` for each class, uncertainty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["id", "label", "prediction", *(f"p_{name}" for name in results.classes), "uncertainty"])
    for index, name in enumerate(results.ids):
        numbers = [*results.probabilities[index], results.uncertainty[index]]
        writer.writerow(
            [
                name,
                results.classes[results.labels[index]],
                results.classes[results.predictions[index]],
                *(f"{number:.7g}" for number in numbers),
            ]
        )
    write_text(path, text.getvalue())


def write_metrics(path: str | Path, metrics: Mapping[str, Any]) -> None:
    """``metrics.json``: flat, sorted by name, valid JSON; a value that is not finite is written as null."""
    plain = {name: _plain(value) for name, value in sorted(metrics.items())}
    write_text(path, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_metrics(path: str | Path) -> dict[str, Any] | None:
    """What `write_metrics` wrote; None where there is nothing."""
    try:
        return dict(json.loads(Path(path).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def results_table(metrics: Mapping[str, Any], results: Results, title: str = "Test set") -> Table:
    """The last thing that a training prints.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``: ``test/accuracy``, ``test/macro_f1``, ….
    """
    table = Table(title=f"{title}: {len(results)} images", title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("images", justify="right", style="dim")
    for metric in METRICS.values():
        table.add_row(metric.label, number(metrics.get(f"test/{metric.name}")), "")
    wrong = int((~results.right).sum())
    for name, label, count in (
        ("mean_uncertainty_right", "mean uncertainty where right", len(results) - wrong),
        ("mean_uncertainty_wrong", "mean uncertainty where wrong", wrong),
    ):
        table.add_row(label, number(metrics.get(f"test/{name}")), str(count))
    table.add_section()
    for row in results.by_class():
        table.add_row(row.name, number(row.accuracy), f"{row.right} of {row.images}")
    table.columns[0].header = "figure, then accuracy of each class"
    return table


def number(value: Any, digits: int = 3) -> str:
    """A figure for people: ``0.786``, or a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float | np.floating) else str(value)


def _ratio(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else math.nan


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"metrics.json is flat: numbers and text, not {type(value).__name__}")
