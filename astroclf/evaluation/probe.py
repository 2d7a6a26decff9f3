"""What frozen features are worth: a linear classifier on them, cross-validated, its regularisation chosen inside."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from astroclf.evaluation.metrics import negative_log_likelihood
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from sklearn import dummy, exceptions, linear_model, pipeline, preprocessing
else:
    dummy = lazy_import("sklearn.dummy")
    exceptions = lazy_import("sklearn.exceptions")
    linear_model = lazy_import("sklearn.linear_model")
    pipeline = lazy_import("sklearn.pipeline")
    preprocessing = lazy_import("sklearn.preprocessing")

PENALTIES = tuple(10.0**power for power in range(-4, 2))  # scikit-learn's C, the inverse of its strength
# Standard deviations at which features are cut off. Some of a ReLU's are zero on nearly all images, and their rest lies
# far out: on 800 galaxies that made the log loss 2.07 and the accuracy 0.525, where it is 1.31 and 0.543 with the cut.
CUT = 3.0


def linear_probe(
    features_NF: np.ndarray,
    labels_N: np.ndarray,
    fold_N: np.ndarray,
    num_classes: int,
    advance: Callable[[int], None] = lambda fits: None,
) -> np.ndarray:
    """Compute what logistic regressions on frozen features say of samples that they were not fitted on, (N, C).

    For each fold the strength of the penalty is the one of least log loss among the other folds, each of these
    predicted from the rest: no label of a fold has a part in what is said of it. A fit without two folds serves both.

    Parameters
    ----------
    features_NF
        Of a network that has not learned from these labels.
    fold_N
        The fold of each sample, from 0, at least three of them; what is linked must be in one.
    advance
        Told of each fit that is done, of `count_fits`.
    """
    folds = int(fold_N.max()) + 1
    inner = np.zeros((folds, len(PENALTIES)))  # summed log loss of the other folds, of each fold and penalty
    for pair in combinations(range(folds), 2):
        rest = ~np.isin(fold_N, pair)
        for place, penalty in enumerate(PENALTIES):
            fitted = _fitted(features_NF[rest], labels_N[rest], penalty)
            for own, other in (pair, pair[::-1]):
                rows = fold_N == other
                said = _said(fitted, features_NF[rows], num_classes)
                inner[own, place] += negative_log_likelihood(said, labels_N[rows]).sum()
            advance(1)
    said_NC = np.empty((len(labels_N), num_classes))
    for fold in range(folds):
        rows = fold_N == fold
        fitted = _fitted(features_NF[~rows], labels_N[~rows], PENALTIES[int(inner[fold].argmin())])
        said_NC[rows] = _said(fitted, features_NF[rows], num_classes)
        advance(1)
    return said_NC


def count_fits(folds: int) -> int:
    """Count the fits of a probe."""
    return folds * (folds - 1) // 2 * len(PENALTIES) + folds


def _fitted(features_NF: np.ndarray, labels_N: np.ndarray, penalty: float) -> Any:
    if len(np.unique(labels_N)) < 2:
        return dummy.DummyClassifier(strategy="prior").fit(features_NF, labels_N)
    probe = pipeline.make_pipeline(
        preprocessing.StandardScaler(),
        preprocessing.FunctionTransformer(np.clip, kw_args={"a_min": -CUT, "a_max": CUT}),
        linear_model.LogisticRegression(C=penalty, max_iter=300),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)  # weak penalties, which are not chosen then
        return probe.fit(features_NF, labels_N)


def _said(fitted: Any, features_NF: np.ndarray, num_classes: int) -> np.ndarray:
    """Return the probabilities of all classes; of one that was not among the samples of the fit it is 0."""
    said_NC = np.zeros((len(features_NF), num_classes))
    said_NC[:, fitted.classes_] = fitted.predict_proba(features_NF)
    return said_NC
