"""The score against its formula, and on networks that label smoothing made equally sure of everything."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import special

from astroclf.errors import ConfigError
from astroclf.evaluation.confidence import (
    ConfidenceFit,
    NormConfidence,
    ScaledConfidence,
    fit_confidence,
    normalised_logit,
)
from astroclf.evaluation.intervals import Interval
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


def test_as_a_probability_it_counts_one_right_and_one_wrong_answer_more_than_there_were() -> None:
    """The law of the optimum: with Platt's targets (1999, eq. 13) the errors sum to 0, also weighed with the scores."""
    said, labels = smoothed(300)
    fit = fit_confidence(said, said, labels)
    assert fit is not None
    assert isinstance(fit.confidence, NormConfidence)
    predicted, right = said.argmax(axis=1), said.argmax(axis=1) == labels
    target = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    error = fit.confidence(said, predicted) - target
    score = normalised_logit(said, predicted, fit.confidence.norm)
    assert abs(error.mean()) < 1e-5
    assert abs((error * (score - score.mean()) / score.std()).mean()) < 1e-5


def test_it_is_not_taken_of_a_network_whose_probabilities_say_it_all() -> None:
    said = drawn(2000)
    fit = fit_confidence(said.probabilities, said.probabilities, said.truth)
    assert fit is not None
    assert not fit.helps


def test_it_is_not_taken_where_it_would_not_mean_what_it_says() -> None:
    """An order that is better, by scores that are no better as probabilities, is chance where few answers are wrong."""
    fit = ConfidenceFit(NormConfidence(norm=2, slope=1.0, intercept=0.0), 0.02, Interval(0.01, 0.03), -0.1)
    assert not fit.helps
    assert replace(fit, log_loss_gain=0.1).helps


def biased(images: int, seed: int = 0, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Draw a network that says one of the classes too often, and is too sure of it."""
    said = drawn(images, seed=seed, spread=spread)
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


def test_a_hundred_images_are_enough_to_learn_which_class_is_said_too_often() -> None:
    """Of ten draws; with each class scaled as these images alone have it, it was taken in every fifth."""
    new, labels = biased(2000, seed=99, spread=8.0)
    predicted, taken = new.argmax(axis=1), 0
    right = predicted == labels
    for seed in range(10):
        told, their_labels = biased(100, seed, spread=8.0)
        fit = fit_confidence(told, told, their_labels)
        assert fit is not None
        if fit.helps:
            taken += 1
            assert aurc(fit.confidence(new, predicted), right) < 0.8 * aurc(new.max(axis=1), right)
    assert taken > 5


def test_nothing_is_learned_of_answers_that_are_all_right() -> None:
    said = drawn(50)
    assert fit_confidence(said.probabilities, said.probabilities, said.predicted) is None


@pytest.mark.parametrize("wrong", [{"norm": 0}, {"slope": -1.0}, {"slope": 10**400}, {"intercept": 1e9}], ids=str)
def test_numbers_that_no_fit_gives_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match="norm|slope"):
        NormConfidence(**{"norm": 2, "slope": 1.0, "intercept": 0.0, **wrong})
