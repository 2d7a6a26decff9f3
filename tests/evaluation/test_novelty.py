"""Novelty: low of what the training images are like, high of what lies elsewhere, its limit where it was asked for."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import LedoitWolf

from astroclf.evaluation.novelty import fit_novelty

F = 12
MEANS = np.random.default_rng(0).normal(0, 4, (3, F))
SPREAD = np.linspace(0.1, 2, F)  # some features vary twenty times as much as others


def drawn(count: int, seed: int, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Features of three classes, moved along the feature that varies least."""
    rng = np.random.default_rng(seed)
    labels_N = rng.integers(0, 3, count)
    features_NF = MEANS[labels_N] + rng.normal(size=(count, F)) * SPREAD
    features_NF[:, 0] += shift
    return features_NF.astype(np.float32), labels_N


@pytest.fixture(scope="module")
def novelty():
    return fit_novelty(*drawn(400, 1), drawn(2000, 2)[0], 0.01)


def test_one_in_a_hundred_of_new_images_of_the_same_kind_is_flagged(novelty) -> None:
    found = novelty(drawn(4000, 3)[0])
    assert 0.005 < (found > 1).mean() < 0.02
    assert np.median(found) == pytest.approx(0, abs=0.1)


def test_a_change_that_is_small_but_that_no_training_image_has_is_flagged(novelty) -> None:
    moved = drawn(200, 4, shift=2.0)[0]  # as much as other features vary, and twenty times this one's spread
    assert (novelty(moved) > 1).all()


def test_what_lies_between_the_classes_is_flagged(novelty) -> None:
    middle = MEANS.mean(axis=0)[None].astype(np.float32)
    assert novelty(middle)[0] > 1


def test_the_distance_is_mahalanobis_to_the_nearest_class(novelty) -> None:
    features_NF, labels_N = drawn(400, 1)
    means_CF = np.stack([features_NF[labels_N == c].mean(axis=0) for c in range(3)])
    shared = LedoitWolf(assume_centered=True).fit(features_NF - means_CF[labels_N])
    new_NF = drawn(50, 5)[0]
    off_NCF = new_NF[:, None] - means_CF[None]
    expected = np.sqrt(np.einsum("ncf,fg,ncg->nc", off_NCF, shared.precision_, off_NCF).min(axis=1))
    np.testing.assert_allclose(novelty.distance(new_NF), expected, rtol=1e-4)


@pytest.mark.parametrize("share", [0.01, 0.05, 0.2])
def test_the_limit_is_what_the_asked_for_share_of_validation_images_exceeds(share: float) -> None:
    validation_NF = drawn(200, 6)[0]
    fitted = fit_novelty(*drawn(300, 7), validation_NF, share)
    assert (fitted(validation_NF) > 1).mean() == pytest.approx(share)


@pytest.mark.parametrize("images", [(10, 100), (100, 10)])
def test_too_few_images_give_no_novelty(images: tuple[int, int]) -> None:
    assert fit_novelty(*drawn(images[0], 0), drawn(images[1], 1)[0], 0.01) is None


def test_a_network_that_makes_the_same_of_all_images_or_no_numbers_gives_none() -> None:
    features_NF, labels_N = drawn(50, 0)
    assert fit_novelty(np.ones_like(features_NF), labels_N, np.ones_like(features_NF), 0.01) is None
    assert fit_novelty(features_NF * np.nan, labels_N, features_NF, 0.01) is None


def test_more_features_than_images_and_a_feature_that_never_varies_are_no_harm() -> None:
    rng = np.random.default_rng(0)
    training_NF = rng.normal(size=(30, 64)).astype(np.float32)
    training_NF[:, 5] = 1
    fitted = fit_novelty(training_NF, np.zeros(30, int), rng.normal(size=(30, 64)).astype(np.float32), 0.05)
    assert np.isfinite(fitted(rng.normal(size=(5, 64)))).all()
