"""Sections of a report that follow from what a model said of labelled images."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from astroclf.evaluation.intervals import LEVEL, baselines, share_interval
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.predictions import ClassResult, Predictions
from astroclf.evaluation.report.page import (
    SAMPLE_SIDE,
    THUMBNAIL_SIDE,
    Cell,
    Column,
    Gallery,
    Headline,
    Matrix,
    MatrixCell,
    Sample,
    Table,
    sample_picture,
)
from astroclf.evaluation.results_table import interval_text
from astroclf.evaluation.suspects import Suspects
from astroclf.util.figures import class_labels
from astroclf.util.text import number

HEADLINES = ("accuracy", "macro_f1", "log_loss", "ece")  # of `METRICS`: how often it is right, and how sure it may be
OF_ANSWERS = {
    "aurc": "area under the risk–coverage curve (AURC)",
    "coverage": "true class in its prediction set",
    "set_size": "classes in a prediction set, on average",
    "unlike_training": "images unlike the training images",
}
SHOWN_SAMPLES = 24  # of a gallery
CELL_SAMPLES = 12  # behind a cell of the confusion matrix
MATRIX_SAMPLES = 600  # behind all of them: 1.5 MB
# A page that shows this place of the sky; it is opened by whoever follows the link, and fetched by no page of ours.
SKY_VIEWER = "https://www.legacysurvey.org/viewer?ra={ra:.5f}&dec={dec:.5f}&layer=ls-dr10&zoom=15"


@dataclass(frozen=True)
class Pictures:
    """What can be shown of the images that were predicted, each by its place in the predictions.

    Attributes
    ----------
    images
        (N, H, W, C) uint8, or anything that gives image i for index i; None: there are no pictures.
    ra_deg, dec_deg
        (N,) sky positions; NaN or None where they are not known.
    heat_maps
        (H, W, 3) uint8 of where the model looked, for some of the images.
    """

    images: Sequence[np.ndarray] | np.ndarray | None = None
    ra_deg: np.ndarray | None = None
    dec_deg: np.ndarray | None = None
    heat_maps: Mapping[int, np.ndarray] = field(default_factory=dict)

    def picture(self, index: int, side: int = SAMPLE_SIDE) -> str:
        """Return the data URI of a small picture of an image; empty where there is none."""
        return "" if self.images is None else sample_picture(self.images[index], side)

    def heat_map(self, index: int) -> str:
        """Return the data URI of where the model looked; empty where that is not known."""
        return sample_picture(self.heat_maps[index]) if index in self.heat_maps else ""

    def sky(self, index: int) -> tuple[str, str]:
        """Return the position in words and a page that shows it; both empty where it is not known."""
        if self.ra_deg is None or self.dec_deg is None:
            return "", ""
        ra, dec = float(self.ra_deg[index]), float(self.dec_deg[index])
        if not (math.isfinite(ra) and math.isfinite(dec)):
            return "", ""
        return f"RA {ra:.4f}° Dec {dec:+.4f}°", SKY_VIEWER.format(ra=ra, dec=dec)


def result_sentence(predictions: Predictions) -> str:
    """Say the result in words, with what one should look at next."""
    rows = [row for row in predictions.by_class() if row.images]
    if not rows:
        return "The test set is empty."
    best, worst = max(rows, key=lambda row: row.accuracy), min(rows, key=lambda row: row.accuracy)
    blind = baselines(predictions)
    words = (
        f"{int(predictions.right.sum())} of {len(predictions)} test images are classified as their label says; "
        f"guessing would get {_percent(blind.chance)} of them right, and always saying {blind.majority_class} would "
        f"get {_percent(blind.majority)}."
    )
    if best.name != worst.name:
        words += f" Best: {best.name} ({best.accuracy:.0%}); worst: {worst.name} ({worst.accuracy:.0%})"
        confused = predictions.confusion[predictions.classes.index(worst.name)].copy()
        confused[predictions.classes.index(worst.name)] = 0
        if confused.any():
            words += f", most often taken for {predictions.classes[int(confused.argmax())]}"
        words += "."
    return words


def headlines(metrics: Mapping[str, Any]) -> list[Headline]:
    """Return the few figures at the top, each with its interval and what is reached without looking at the images.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``.
    """
    found = []
    for name in HEADLINES:
        if f"test/{name}" not in metrics:
            continue
        interval = interval_text(metrics, name)
        beside = [f"{100 * LEVEL:g} %: {interval}"] if interval else []
        if name == "accuracy" and "test/chance_accuracy" in metrics:
            beside.append(f"guessing {number(metrics['test/chance_accuracy'])}")
            beside.append(f"commonest class {number(metrics['test/majority_accuracy'])}")
        if _before(metrics, name) is not None:
            beside.append(f"before calibration {_before(metrics, name)}")
        found.append(Headline(number(metrics[f"test/{name}"]), METRICS[name].label, beside))
    return found


def figures_section(metrics: Mapping[str, Any], title: str = "Figures") -> Table:
    """Return the table of all figures of a test, with what they were before calibration where that changed them.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``.
    """
    labels = {name: metric.label for name, metric in METRICS.items()} | OF_ANSWERS
    shown = {name: label for name, label in labels.items() if metrics.get(f"test/{name}") is not None}
    is_calibrated = any(_before(metrics, name) is not None for name in shown)
    columns = [Column("figure", numeric=False), Column("value"), Column(f"{100 * LEVEL:g} % interval")]
    rows = [
        [
            Cell(label),
            Cell(number(metrics[f"test/{name}"])),
            Cell(interval_text(metrics, name) or "–"),
            *[Cell(_before(metrics, name) or "–")] * is_calibrated,
        ]
        for name, label in shown.items()
    ]
    return Table(title=title, columns=[*columns, *[Column("before calibration")] * is_calibrated], rows=rows)


def _before(metrics: Mapping[str, Any], name: str) -> str | None:
    """Write what a figure was before calibration; None where calibration did not change it."""
    raw = metrics.get(f"test/{name}_raw")
    return None if raw is None or raw == metrics[f"test/{name}"] else number(raw)


def confusion_section(predictions: Predictions, pictures: Pictures, title: str = "What is taken for what") -> Matrix:
    """Return the confusion matrix; a cell opens its images, the most confident first."""
    counts, names = predictions.confusion, predictions.classes
    per_cell = _samples_per_cell(counts) if pictures.images is not None else 0
    order = np.argsort(-predictions.confidence, kind="stable")
    places: dict[tuple[int, int], list[int]] = {}
    for index in order.tolist() if per_cell else ():
        members = places.setdefault((predictions.truth[index], predictions.predicted[index]), [])
        if len(members) < per_cell:
            members.append(index)
    totals = counts.sum(axis=1)
    rows = [
        [
            MatrixCell(
                count=int(counts[true, said]),
                share=float(counts[true, said] / max(totals[true], 1)),
                words=_cell_words(int(counts[true, said]), names[true], names[said]),
                samples=[_in_cell(predictions, pictures, index) for index in places.get((true, said), ())],
            )
            for said in range(len(names))
        ]
        for true in range(len(names))
    ]
    opens = " Each number opens its images." if per_cell else ""
    return Matrix(
        title=title,
        text=f"Rows are what the label says, columns what the model says; the color is the share of the row.{opens}",
        names=names,
        labels=class_labels(names),
        images=totals.tolist(),
        rows=rows,
    )


def _samples_per_cell(counts: np.ndarray) -> int:
    """Return how many images to show of each cell, so that all of them together stay within the page's limit."""
    fits = (limit for limit in range(CELL_SAMPLES, 0, -1) if np.minimum(counts, limit).sum() <= MATRIX_SAMPLES)
    return next(fits, 0)


def _cell_words(count: int, truth: str, said: str) -> str:
    images = f"{count} image{'' if count == 1 else 's'} of {truth}"
    return f"{images}, rightly named" if truth == said else f"{images} taken for {said}"


def _in_cell(predictions: Predictions, pictures: Pictures, index: int) -> Sample:
    sky, link = pictures.sky(index)
    confidence = f"{predictions.confidence[index]:.0%} sure"
    picture = pictures.picture(index, THUMBNAIL_SIDE)
    return Sample(str(predictions.ids[index]), picture, note=confidence, sky=sky, link=link)


def class_section(predictions: Predictions, title: str = "Classes") -> Table:
    """Return the table of the classes, each with the interval of its accuracy."""
    names = ("class", "images", "right", "accuracy (recall)", f"{100 * LEVEL:g} % interval", "precision", "F1")
    columns = [Column(name, numeric=place > 0) for place, name in enumerate((*names, "mean uncertainty"))]
    labels = class_labels(predictions.classes)
    rows = [_class_cells(row, label) for row, label in zip(predictions.by_class(), labels, strict=True)]
    return Table(title=title, columns=columns, rows=rows)


def _class_cells(row: ClassResult, label: str) -> list[Cell]:
    interval = share_interval(row.right, row.images) if row.images else None
    return [
        Cell(row.name, note=f"in the figures {label}" if label != row.name else ""),
        Cell(str(row.images)),
        Cell(str(row.right)),
        Cell(number(row.accuracy), share=0.0 if math.isnan(row.accuracy) else row.accuracy),
        Cell("–") if interval is None else Cell(" – ".join(map(number, interval)), sort=interval.low),
        Cell(number(row.precision)),
        Cell(number(row.f1)),
        Cell(number(row.uncertainty)),
    ]


def mistakes_section(predictions: Predictions, pictures: Pictures, count: int = SHOWN_SAMPLES) -> Gallery:
    """Return the most confident mistakes."""
    chosen, wrong = predictions.mistakes(count), int((~predictions.right).sum())
    if not wrong:
        text = f"There is none among the {len(predictions)} test images."
    else:
        text = (
            f"{len(chosen)} of {wrong} wrong among {len(predictions)} images. Look here first for wrong labels, and "
            "for what the network cannot see."
        )
        if pictures.heat_maps:
            text += (
                " Beside each image, in red, what spoke most for the answer that was given; its frame is what the "
                "network sees."
            )
    return Gallery(title="Most confident mistakes", text=text, samples=_samples(predictions, pictures, chosen))


def least_sure_section(predictions: Predictions, pictures: Pictures, count: int = SHOWN_SAMPLES // 2) -> Gallery:
    """Return the images that the model is least sure of, right or wrong."""
    chosen = np.argsort(predictions.confidence, kind="stable")[:count]
    pictures = replace(pictures, heat_maps={})  # some are mistakes, which may have one: a gallery has them all or none
    right = int(predictions.right[chosen].sum())
    return Gallery(
        title="Least sure",
        text=f"The {len(chosen)} images with the lowest confidence; {right} of them are right all the same. More "
        "labels of such images teach a network most.",
        samples=_samples(predictions, pictures, chosen),
    )


def suspects_section(
    predictions: Predictions, pictures: Pictures, suspects: Suspects, count: int = SHOWN_SAMPLES
) -> Gallery:
    """Return the images whose label is probably wrong, each with the label that the model suggests."""
    pictures = replace(pictures, heat_maps={})  # those that are confident mistakes have theirs there
    samples = [
        replace(
            answered_sample(predictions, pictures, int(row)),
            said=f"{predictions.classes[suggested]} {probability:.0%}",
        )
        for row, suggested, probability in zip(
            suspects.rows[:count], suspects.suggested[:count], suspects.suggested_probability[:count], strict=True
        )
    ]
    text = "The model finds no label suspicious."
    if samples:
        text = (
            f"{len(samples)} of {len(suspects)}, the least probable label first; suspects.csv lists them all. Some "
            "labels are wrong, others show what the model cannot see; nothing was changed."
        )
    return Gallery(title="Labels that may be wrong", text=text, samples=samples)


def _samples(predictions: Predictions, pictures: Pictures, chosen: Iterable[Any]) -> list[Sample]:
    return [answered_sample(predictions, pictures, int(index)) for index in chosen]


def answered_sample(predictions: Predictions, pictures: Pictures, index: int, note: str = "") -> Sample:
    """Return one image with what the model said of it and what its label says."""
    label, said = predictions.truth[index], predictions.predicted[index]
    sky, link = pictures.sky(index)
    return Sample(
        id=str(predictions.ids[index]),
        picture=pictures.picture(index),
        heat_map=pictures.heat_map(index),
        said=f"{predictions.classes[said]} {predictions.confidence[index]:.0%}",
        truth=f"{predictions.classes[label]} {predictions.probabilities[index, label]:.0%}",
        wrong=bool(label != said),
        note=note,
        sky=sky,
        link=link,
    )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
