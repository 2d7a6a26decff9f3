"""How well a score tells right answers from wrong ones: the share that is wrong where only the surest are given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from astroclf.evaluation.bootstrap import drawn_counts


class RiskCoverage(NamedTuple):
    """The risk–coverage curve of N images (El-Yaniv & Wiener 2010).

    Attributes
    ----------
    coverage_N : (N,) float
        Share of the images that are answered: 1 / N to 1, the surest first.
    risk_N : (N,) float
        Share of these that are wrong.
    """

    coverage_N: np.ndarray
    risk_N: np.ndarray


def risk_coverage(score_N: np.ndarray, right_N: np.ndarray) -> RiskCoverage:
    """Compute the risk–coverage curve of answers that are given to the images with the highest scores.

    Among images with equal scores, the mean over all their orders is taken.
    """
    ranks_N = np.arange(1, len(score_N) + 1)
    return RiskCoverage(ranks_N / len(score_N), _cumulative_wrong(score_N, right_N) / ranks_N)


def aurc(score_N: np.ndarray, right_N: np.ndarray) -> float:
    """Compute the area under the risk–coverage curve: the mean risk over all coverages (arXiv:1805.08206, eq. 4)."""
    return float(risk_coverage(score_N, right_N).risk_N.mean())


def excess_aurc(score_N: np.ndarray, right_N: np.ndarray) -> float:
    """Compute by how much the area is larger than with the best possible order, all right answers first (E-AURC)."""
    return aurc(score_N, right_N) - aurc(np.asarray(right_N, np.float64), right_N)


def resampled_aurc(scores: Sequence[np.ndarray], right_N: np.ndarray, resamples: int, seed: int = 0) -> np.ndarray:
    """Compute the area of several scores on resamples of the images, the same for all: (scores, R) float64.

    A resample is drawn as a count of each image, so that each score is sorted once; copies of an image are answered
    together.
    """
    orders = [np.argsort(-score_N, kind="stable") for score_N in scores]
    parts = []
    for drawn_RN in drawn_counts(len(right_N), resamples, seed):
        areas = []
        for order in orders:
            answered_RN = drawn_RN[:, order].astype(np.float64)
            wrong_RN = np.cumsum(answered_RN * ~right_N[order], axis=1)
            risk_RN = wrong_RN / np.maximum(np.cumsum(answered_RN, axis=1), 1)
            areas.append((answered_RN * risk_RN).sum(axis=1) / len(right_N))
        parts.append(np.stack(areas))
    return np.concatenate(parts, axis=1)


def _cumulative_wrong(score_N: np.ndarray, right_N: np.ndarray) -> np.ndarray:
    """Return how many of the surest 1, 2, … N images are wrong; evenly spread over images with equal scores."""
    order = np.argsort(-score_N, kind="stable")
    sorted_N = score_N[order]
    ends = np.flatnonzero(np.append(sorted_N[1:] != sorted_N[:-1], True)) + 1  # where each run of equal scores ends
    wrong = np.cumsum(~np.asarray(right_N, bool)[order])
    return np.interp(np.arange(1, len(score_N) + 1), np.append(0, ends), np.append(0, wrong[ends - 1]))
