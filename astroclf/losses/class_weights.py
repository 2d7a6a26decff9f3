"""How many samples a class counts for, and the class weights that follow (Cui et al. 2019, arXiv:1901.05555)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_import("torch")  # a check of a data set wants the numbers alone


def class_weights(class_counts: Sequence[int] | np.ndarray | Tensor, beta: float = 0.0) -> Tensor:
    """Return the weight of each class, (C,) float32.

    With n samples, a class has the effective number (1 - beta^n) / (1 - beta); its weight is the inverse of that,
    scaled so that the weights sum to the number of classes. beta = 0 gives ones whatever the counts; towards 1 the
    weights approach the inverse of the counts.

    A class without samples has no effective number: with beta > 0 its weight is 0, and the others sum to the number of
    classes that have samples, so that a class nobody trains on changes nothing for the rest.

    Parameters
    ----------
    class_counts : (C,) int
        Training samples of each class.
    beta : float
        At least 0 and below 1; .99 to .9999 are usual.
    """
    counts = np.asarray(class_counts, dtype=np.float64)
    if counts.ndim != 1 or len(counts) < 2 or (counts < 0).any() or not counts.any():
        raise ValueError(f"class_counts must be the sizes of two or more classes, not all zero, got {class_counts}")
    if not 0.0 <= beta < 1.0:
        raise ValueError(f"beta must be at least 0 and below 1, got {beta}")
    if beta == 0.0:
        return torch.ones(len(counts))
    return torch.from_numpy(balanced_weights(counts, beta)).float()


def effective_numbers(class_counts: Sequence[int] | np.ndarray, beta: float) -> np.ndarray:
    """Return how many samples each class counts for, (C,) float64: (1 - beta^n) / (1 - beta), at most n.

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
    """Return the inverse of each class's effective number, (C,) float64, with mean 1 over the classes with samples.

    A class without samples has the weight 0.
    """
    present = np.asarray(class_counts) > 0
    weights = np.zeros(len(present))
    weights[present] = 1.0 / effective_numbers(np.asarray(class_counts)[present], beta)
    return weights * present.sum() / max(weights.sum(), np.finfo(float).tiny)
