"""How far two sets of images are apart: in what can be measured of them, and in what a model makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from astroclf.evaluation.doubt import auroc_interval
from astroclf.evaluation.image_statistics import Statistic, said_of, statistics_named, typical
from astroclf.evaluation.intervals import Interval
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from sklearn import ensemble, model_selection
else:
    ensemble = lazy_import("sklearn.ensemble")
    model_selection = lazy_import("sklearn.model_selection")

SIGNIFICANT = 0.01  # of the p-value times the number of statistics: below, a difference is no chance
LARGE = 0.2  # KS distance: below, a difference may be real, and still matters little
COLUMNS = ("statistic", "here", "there", "KS distance", "p")  # of the table that people read
_FOLDS, _TREES = 5, 60
FEWEST = 10  # images of either side, without which nothing is compared
_TOLD = 3  # differences in the sentence
# The AUROC from which on two sets are said to be so far apart; below the first they are alike.
_FAR = ((0.6, "differ a little"), (0.75, "differ clearly"), (0.95, "can be told apart image by image"))


@dataclass(frozen=True)
class Difference:
    """One statistic of both sets.

    Attributes
    ----------
    here, there
        Its typical value in the images, and in those that they are compared with.
    distance
        Kolmogorov and Smirnov's: the largest difference of the two cumulative distributions, 0 to 1.
    p_value
        Of two samples of one distribution that are so far apart.
    """

    name: str
    statistic: Statistic
    here: float
    there: float
    distance: float
    p_value: float

    @property
    def sentence(self) -> str:
        """How the typical values differ, in words; empty where they do not."""
        return said_of(self.statistic, self.here, self.there)


@dataclass(frozen=True)
class Separability:
    """How well a classifier tells images of one set from those of the other, on images that it was not fitted on.

    Attributes
    ----------
    auroc : float
        0.5: not at all; 1: without an error.
    interval : Interval
    """

    auroc: float
    interval: Interval

    @property
    def verdict(self) -> str:
        """How far apart the sets are, in words that follow ``the two sets``."""
        if self.interval.low <= 0.5:
            return "cannot be told apart"
        return next((words for least, words in reversed(_FAR) if self.auroc >= least), "are nearly alike")


@dataclass(frozen=True)
class Shift:
    """How far images are from others.

    Attributes
    ----------
    other
        What the others are, such as ``the training images``.
    images, others
        How many of either were measured.
    differences
        Of each statistic, the largest first.
    by_statistics
        By a classifier that sees all statistics.
    by_embedding
        By one that sees what a model makes of the images; None without a model.
    measured
        The statistics of either side, (N,) each by its name.
    """

    other: str
    images: int
    others: int
    differences: Sequence[Difference]
    by_statistics: Separability
    by_embedding: Separability | None
    measured: tuple[Mapping[str, np.ndarray], Mapping[str, np.ndarray]]

    @property
    def clearest(self) -> Separability:
        """The classifier that tells them apart better: what one does not see, the other may."""
        return max(filter(None, (self.by_statistics, self.by_embedding)), key=lambda found: found.auroc)

    def is_real(self, difference: Difference) -> bool:
        """Return whether a difference is no chance, with so many statistics looked at."""
        return difference.p_value * len(self.differences) < SIGNIFICANT

    @property
    def sentences(self) -> list[str]:
        """What differs most, and how far apart the sets are."""
        large = [each for each in self.differences if self.is_real(each) and each.distance >= LARGE and each.sentence]
        told = "; ".join(each.sentence for each in large[:_TOLD])
        what = f"Beside {self.other}, {told}." if told else f"No statistic is far from that of {self.other}."
        by = f"by their statistics {_shown(self.by_statistics)}"
        if self.by_embedding is not None:
            by += f", by the model's embedding {_shown(self.by_embedding)}"
        verdict = self.clearest.verdict
        return [what, f"The two sets {verdict}, {by} (AUROC; 0.5: not at all, 1: without an error)."]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the table of all statistics, each cell as people read it; `COLUMNS` are its heads."""
        return [
            (
                each.statistic.label,
                *(f"{value:.3g}" for value in (each.here, each.there)),
                f"{each.distance:.2f}",
                "may be chance"
                if not self.is_real(each)
                else f"{each.p_value:.1g}"
                if each.p_value > 1e-9
                else "< 1e-9",
            )
            for each in self.differences
        ]

    def metrics(self) -> dict[str, float]:
        """Return its figures by name."""
        found = {"statistics_auroc": self.by_statistics.auroc}
        if self.by_embedding is not None:
            found["embedding_auroc"] = self.by_embedding.auroc
        return found | {f"{each.name}/ks": each.distance for each in self.differences}

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        by = {"statistics": self.by_statistics, "embedding": self.by_embedding}
        return {
            "other": self.other,
            "images": self.images,
            "other_images": self.others,
            "auroc": {
                name: {"value": round(found.auroc, 4), "interval": [round(end, 4) for end in found.interval]}
                for name, found in by.items()
                if found is not None
            },
            "said": " ".join(self.sentences),
            "statistics": [
                {
                    "name": each.name,
                    "label": each.statistic.label,
                    "here": each.here,
                    "other": each.there,
                    "ks": each.distance,
                    "p_value": each.p_value,
                }
                for each in self.differences
            ],
        }


def shift_between(
    here: Mapping[str, np.ndarray],
    there: Mapping[str, np.ndarray],
    other: str,
    embeddings: tuple[np.ndarray, np.ndarray] | None = None,
) -> Shift | None:
    """Compare images with others; None where either are too few to say anything.

    Parameters
    ----------
    here, there
        Of `measure`, for either side.
    other
        What the others are, for sentences.
    embeddings
        What a model makes of either, (N, F) each.
    """
    sizes = [len(next(iter(side.values()))) for side in (here, there)]
    if min(sizes) < FEWEST or (embeddings is not None and min(map(len, embeddings)) < FEWEST):
        return None
    known = statistics_named(here)
    differences = []
    for name, values_N in here.items():
        found = stats.ks_2samp(values_N, there[name], method="asymp")  # the exact one fails where values are equal
        ours, theirs = (typical(known[name], side[name]) for side in (here, there))
        differences.append(Difference(name, known[name], ours, theirs, float(found.statistic), float(found.pvalue)))
    both = [np.stack([side[name] for name in here], axis=1) for side in (here, there)]
    return Shift(
        other=other,
        images=sizes[0],
        others=sizes[1],
        differences=sorted(differences, key=lambda each: -each.distance),
        by_statistics=separability(*both),
        by_embedding=None if embeddings is None else separability(*embeddings),
        measured=(here, there),
    )


def separability(here_NF: np.ndarray, there_NF: np.ndarray) -> Separability:
    """Measure how well a random forest tells rows of one table from those of another, by cross-validation.

    A classifier two-sample test (Lopez-Paz & Oquab 2017, arXiv:1610.06545). Equal rows are in one fold: of copies in
    both tables, the forest would else learn that they belong to the other one.
    """
    values = np.concatenate([here_NF, there_NF]).astype(np.float32)
    is_here = np.arange(len(values)) < len(here_NF)
    _, groups = np.unique(values, axis=0, return_inverse=True)
    folds = model_selection.StratifiedGroupKFold(_FOLDS, shuffle=True, random_state=0)
    forest = ensemble.RandomForestClassifier(
        _TREES, min_samples_leaf=5, class_weight="balanced", max_samples=min(1.0, 1000 / len(values)), random_state=0
    )
    score_N = model_selection.cross_val_predict(
        forest, values, is_here, groups=groups.ravel(), cv=folds, method="predict_proba"
    )[:, 1]
    return Separability(*auroc_interval(score_N, is_here))


def _shown(found: Separability) -> str:
    return f"{found.auroc:.2f} [{found.interval.low:.2f}, {found.interval.high:.2f}]"
