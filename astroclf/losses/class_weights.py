"""Class weights by the effective number of samples."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from astroclf.losses.effective_number import balanced_weights


def class_weights(class_counts: Sequence[int] | np.ndarray | Tensor, beta: float = 0.0) -> Tensor:
    """Weight of each class, (C,) float32 (Cui et al. 2019, arXiv:1901.05555).

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
