"""Against scikit-learn, and on draws whose calibration is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression

from astroclf.errors import ConfigError
from astroclf.evaluation.calibration import (
    FLATTEST,
    FOLDS,
    SHARPEST,
    Calibration,
    fit_calibration,
    fit_temperature,
    fit_vector,
    folds,
    log_probabilities,
)
from astroclf.evaluation.metrics import negative_log_likelihood
from tests.evaluation.drawn import drawn


def loss(calibration: Calibration, probabilities: np.ndarray, labels: np.ndarray) -> float:
    return float(negative_log_likelihood(calibration(probabilities), labels).mean())


@pytest.mark.parametrize("temperature", [0.4, 1.0, 2.5])
def test_the_temperature_is_scikit_learns_and_that_of_the_draw(temperature: float) -> None:
    said = drawn(4000, temperature=temperature)
    found = fit_temperature(said.probabilities, said.truth)
    # Scikit-learn divides what a classifier's decision function gives: here, one that passes its features on.
    logits = log_probabilities(said.probabilities)
    classifier = LogisticRegression(max_iter=1000).fit(logits[:50], np.arange(50) % 5)
    classifier.coef_, classifier.intercept_ = np.eye(5), np.zeros(5)
    reference = CalibratedClassifierCV(FrozenEstimator(classifier), method="temperature", ensemble=False)
    reference.fit(logits, said.truth)
    np.testing.assert_allclose(found(said.probabilities), reference.predict_proba(logits), atol=2e-4)
    assert loss(found, said.probabilities, said.truth) <= (
        negative_log_likelihood(reference.predict_proba(logits), said.truth).mean() + 1e-9
    )
    assert found.temperature[0] == pytest.approx(temperature, rel=0.1)


def test_the_temperature_is_the_best_to_six_digits() -> None:
    said = drawn(300, temperature=1.7)
    best = fit_temperature(said.probabilities, said.truth).temperature[0]
    around = best * np.exp(np.array([-1e-3, 0, 1e-3]))
    losses = [loss(Calibration(temperature=[each]), said.probabilities, said.truth) for each in around]
    vertex = 1e-3 * (losses[0] - losses[2]) / (2 * (losses[0] - 2 * losses[1] + losses[2]))  # of the parabola, in log T
    assert abs(vertex) < 1e-5
    assert losses[1] < min(losses[0], losses[2])


def test_a_temperature_changes_no_label_and_sums_stay_one() -> None:
    said = drawn(500, temperature=3.0)
    calibrated = fit_temperature(said.probabilities, said.truth)(said.probabilities)
    assert (calibrated.argmax(axis=1) == said.predicted).all()
    np.testing.assert_allclose(calibrated.sum(axis=1), 1)


def test_answers_that_are_all_right_or_all_wrong_end_at_the_limits() -> None:
    said = drawn(100)
    assert fit_temperature(said.probabilities, said.predicted).temperature == [SHARPEST]
    assert fit_temperature(said.probabilities, said.probabilities.argmin(axis=1)).temperature == [FLATTEST]


def test_a_probability_of_zero_is_calibrated_without_a_warning() -> None:
    certain = np.array([[1, 0, 0], [0, 1, 0], [1, 0, 0]], np.float32)
    calibrated = fit_temperature(certain, np.array([0, 1, 1]))(certain)
    assert np.isfinite(calibrated).all()
    assert calibrated[0, 0] < 1


def test_vector_scaling_undoes_a_bias_that_a_temperature_cannot() -> None:
    said = drawn(6000)
    bias = np.array([1.5, 0.0, -1.0, 0.5, 0.0])
    told = special.softmax(1.3 * log_probabilities(said.probabilities) + bias, axis=1)
    vector, temperature = fit_vector(told, said.truth), fit_temperature(told, said.truth)
    np.testing.assert_allclose(vector.bias, -(bias - bias.mean()) / 1.3, atol=0.15)
    np.testing.assert_allclose(vector.temperature, 1.3, rtol=0.12)
    true_loss = negative_log_likelihood(said.probabilities, said.truth).mean()
    assert loss(vector, told, said.truth) == pytest.approx(true_loss, abs=0.002)
    assert loss(temperature, told, said.truth) > true_loss + 0.05


def test_what_is_calibrated_already_is_not_said_to_be_helped() -> None:
    """In 5 % of such draws the interval lies above 0 or below; not in these."""
    fits = [
        fit_calibration("temperature", said.probabilities, said.truth)
        for said in (drawn(400, seed=s) for s in range(3))
    ]
    assert not any(fit.helps for fit in fits)
    said = drawn(400, temperature=2.0)
    fit = fit_calibration("temperature", said.probabilities, said.truth)
    assert fit.helps
    assert fit.interval.low < fit.gain < fit.interval.high


def test_the_gain_counts_what_a_fit_to_few_images_costs() -> None:
    """Vector scaling of ten parameters on 40 images fits them well, and others badly."""
    said = drawn(40, seed=2)
    fit = fit_calibration("vector", said.probabilities, said.truth)
    on_its_own = negative_log_likelihood(said.probabilities, said.truth).mean() - loss(
        fit.calibration, said.probabilities, said.truth
    )
    assert on_its_own > 0.05
    assert fit.gain < 0


def test_each_image_is_in_one_fold_and_each_class_in_all() -> None:
    labels = np.repeat([0, 1, 2], [50, 13, 4])
    parts = folds(labels)
    assert len(parts) == FOLDS
    assert np.sum(parts, axis=0).tolist() == [1] * len(labels)
    for label, images in ((0, 50), (1, 13), (2, 4)):
        counts = [int((labels[part] == label).sum()) for part in parts]
        assert max(counts) - min(counts) <= 1, (label, counts)
        assert sum(counts) == images


@pytest.mark.parametrize("wrong", [{"temperature": []}, {"temperature": [0.0]}, {"temperature": [1.0], "bias": [1e9]}])
def test_numbers_that_no_fit_gives_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=r"'(temperature|bias)' must be numbers"):
        Calibration(**wrong)
