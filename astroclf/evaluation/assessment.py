"""Every figure by which answers about labelled images are judged, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from astroclf.evaluation.bootstrap import Cells, class_ratios
from astroclf.evaluation.intervals import LEVEL, RESAMPLES, Interval, percentile_interval, share_interval
from astroclf.evaluation.predictions import Predictions

OF_ALL = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy (mean recall of the classes)",
    "top2_accuracy": "label among the two most probable",
    "macro_f1": "macro F1",
    "macro_precision": "macro precision",
    "macro_recall": "macro recall",
}
OF_CLASS = ("recall", "precision", "f1")


@dataclass(frozen=True)
class Figure:
    """A figure with the interval of what it may be in truth."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Assessment:
    """What was found of labelled answers.

    Attributes
    ----------
    of_all
        By the names of `OF_ALL`, in their order; of two classes there is no top 2.
    of_class
        By the name of each class that has images, then by the names of `OF_CLASS`.
    """

    of_all: dict[str, Figure]
    of_class: dict[str, dict[str, Figure]]

    def metrics(self) -> dict[str, float]:
        """Return all of it as ``metrics.json`` names it, after ``test/``."""
        named = dict(self.of_all)
        for name, figures in self.of_class.items():
            named |= {f"{name}/{kind}": figure for kind, figure in figures.items()}
        flat: dict[str, float] = {}
        for name, figure in named.items():
            flat |= {name: figure.value, f"{name}_low": figure.interval.low, f"{name}_high": figure.interval.high}
        return flat


def assess(predictions: Predictions, level: float = LEVEL, resamples: int = RESAMPLES) -> Assessment:
    """Compute the figures of labelled answers.

    The interval of a share of independent images (accuracy, top 2, a recall) is exact; those of ratios and means of
    them are of the stratified bootstrap, all of the same resamples (see `resampled`). A class without images has no
    figures and is no part of the balanced accuracy; in the macro figures it counts where the model answers it, as in
    scikit-learn.
    """
    truth, size = predictions.truth, len(predictions.classes)
    cells = Cells(truth, [predictions.predicted])
    whole = class_ratios(cells.counts_K[None].astype(np.float64), cells.labels_K, cells.answers[0], size)
    parts = [class_ratios(drawn_RK, cells.labels_K, cells.answers[0], size) for drawn_RK in cells.drawn(resamples)]
    drawn = {name: np.concatenate([part[name] for part in parts]) for name in whole}
    images_C = np.bincount(truth, minlength=size)
    has_images = images_C > 0

    def balanced(recall_RC: np.ndarray) -> np.ndarray:
        return recall_RC[:, has_images].mean(axis=1)

    of_all = {
        "accuracy": _share(int(predictions.right.sum()), len(predictions), level),
        "balanced_accuracy": _figure(balanced(whole["recall"]), balanced(drawn["recall"]), level),
    }
    if size > 2:  # of two classes it is always 1
        of_all["top2_accuracy"] = _share(int(within_top(predictions, 2).sum()), len(predictions), level)
    for name in ("macro_f1", "macro_precision", "macro_recall"):
        of_all[name] = _figure(whole[name], drawn[name], level)
    of_class = {}
    for label in np.flatnonzero(has_images):
        hits = int(predictions.confusion[label, label])
        of_class[predictions.classes[label]] = {
            "recall": _share(hits, int(images_C[label]), level),
            **{name: _figure(whole[name][:, label], drawn[name][:, label], level) for name in ("precision", "f1")},
        }
    return Assessment({name: of_all[name] for name in OF_ALL if name in of_all}, of_class)


def within_top(predictions: Predictions, count: int) -> np.ndarray:
    """Find the images whose label is among the `count` most probable classes, (N,) bool; ties go to it."""
    truth_N1 = predictions.truth[:, None]
    of_label_N1 = np.take_along_axis(predictions.probabilities, truth_N1, axis=1)
    return (predictions.probabilities > of_label_N1).sum(axis=1) < count


def _share(hits: int, images: int, level: float) -> Figure:
    return Figure(hits / images, share_interval(hits, images, level))


def _figure(whole_1: np.ndarray, drawn_R: np.ndarray, level: float) -> Figure:
    return Figure(float(whole_1[0]), percentile_interval(drawn_R, level))
