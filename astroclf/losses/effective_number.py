"""How many samples a class counts for, and the class weights that follow (Cui et al. 2019, arXiv:1901.05555)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def effective_numbers(class_counts: Sequence[int] | np.ndarray, beta: float) -> np.ndarray:
    """How many samples each class counts for, (C,) float64: (1 - beta^n) / (1 - beta), at most n.

    Parameters
    ----------
    class_counts : (C,) int
        Samples of each class.
    beta : float
        Above 0 and below 1: the larger, the later a further sample stops to add anything.
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    return -np.expm1(counts * math.log(beta)) / (1.0 - beta)  # expm1: 1 - beta^n without cancellation


def balanced_weights(class_counts: Sequence[int] | np.ndarray, beta: float) -> np.ndarray:
    """The inverse of each class's effective number, (C,) float64, with mean 1 over the classes that have samples.

    A class without samples has the weight 0.
    """
    present = np.asarray(class_counts) > 0
    weights = np.zeros(len(present))
    weights[present] = 1.0 / effective_numbers(np.asarray(class_counts)[present], beta)
    return weights * present.sum() / max(weights.sum(), np.finfo(float).tiny)
