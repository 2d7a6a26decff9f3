"""The score against its formula, and on networks that label smoothing made equally sure of everything."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from astroclf.errors import ConfigError
from astroclf.evaluation.confidence import NormConfidence, ScaledConfidence, fit_confidence, normalised_logit
from astroclf.evaluation.metrics import equal_mass_calibration_error
from astroclf.evaluation.selective import aurc
from tests.evaluation.drawn import drawn


def smoothed(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw what label smoothing leaves: easy images have long logits, odd ones short and noisy, all equally peaked."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, images)
    odd = rng.random(images) < 0.4
    logits = rng.normal(0, 0.2, (images, 6))
    said = np.where(odd & (rng.random(images) < 0.6), rng.integers(0, 6, images), labels)
    logits[np.arange(images), said] += rng.normal(4.0, 0.3, images)
    logits[odd] += rng.normal(0, 1.5, (odd.sum(), 6))  # other classes take part of an odd image
    logits[odd, said[odd]] += 1.5
    return special.softmax(logits, axis=1), labels


@pytest.mark.parametrize("norm", [1, 2, 5])
def test_the_score_is_the_largest_centred_logit_over_the_norm(norm: int) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (20, 4))
    centred = logits - logits.mean(axis=1, keepdims=True)
    expected = centred.max(axis=1) / (np.abs(centred) ** norm).sum(axis=1) ** (1 / norm)
    said = special.softmax(logits, axis=1)
    np.testing.assert_allclose(normalised_logit(said, said.argmax(axis=1), norm), expected)
    cooler = special.softmax(logits / 2.5, axis=1)
    np.testing.assert_allclose(normalised_logit(cooler, said.argmax(axis=1), norm), expected)


def test_equal_probabilities_have_no_score_and_raise_no_warning() -> None:
    assert normalised_logit(np.full((1, 4), 0.25), np.array([0]), 3).tolist() == [0.0]


def test_it_is_taken_where_the_highest_probability_hides_who_is_wrong() -> None:
    said, labels = smoothed(3000)
    fit = fit_confidence(said[:1500], said[:1500], labels[:1500])
    assert fit is not None
    assert fit.helps
    told, right = said[1500:], said[1500:].argmax(axis=1) == labels[1500:]
    confidence = fit.confidence(told, told.argmax(axis=1))
    assert aurc(confidence, right) < 0.9 * aurc(told.max(axis=1), right)
    assert abs(confidence.mean() - right.mean()) < 0.03, "it is a probability"
    assert ((confidence > 0) & (confidence < 1)).all()


def test_it_is_not_taken_of_a_network_whose_probabilities_say_it_all() -> None:
    said = drawn(2000)
    fit = fit_confidence(said.probabilities, said.probabilities, said.truth)
    assert fit is not None
    assert not fit.helps


def biased(images: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a network that says one of the classes too often, and is too sure of it."""
    said = drawn(images, seed=seed, spread=3.0)
    return special.softmax(np.log(said.probabilities) + np.array([2.5, 0, 0, 0, -1.0]), axis=1), said.truth


def test_a_scaling_of_each_class_is_taken_where_one_class_is_said_too_often() -> None:
    told, labels = biased(2000)
    fit = fit_confidence(told, told, labels)
    assert fit is not None
    assert isinstance(fit.confidence, ScaledConfidence)
    assert fit.helps
    told, labels = biased(4000, seed=1)
    predicted = told.argmax(axis=1)
    confidence = fit.confidence(told, predicted)
    assert aurc(confidence, predicted == labels) < 0.84 * aurc(told.max(axis=1), predicted == labels)
    assert equal_mass_calibration_error(confidence, predicted == labels) < 0.03


def test_nothing_is_learned_of_answers_that_are_all_right() -> None:
    said = drawn(50)
    assert fit_confidence(said.probabilities, said.probabilities, said.predicted) is None


@pytest.mark.parametrize("wrong", [{"norm": 0}, {"slope": -1.0}, {"slope": 10**400}, {"intercept": 1e9}], ids=str)
def test_numbers_that_no_fit_gives_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="norm|slope"):
        NormConfidence(**{"norm": 2, "slope": 1.0, "intercept": 0.0, **wrong})
