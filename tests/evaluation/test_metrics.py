"""Against scikit-learn, and against formulas written out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from astroclf.evaluation.metrics import (
    METRICS,
    MONITORS,
    PROBABILISTIC,
    classification_metrics,
    equal_mass_calibration_error,
    expected_calibration_error,
    monitored,
)

CLASSES = ("spiral", "smooth", "edge-on", "merging")


@st.composite
def classified(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities (N, 4) and labels (N,), often without some of the classes; ties and certainties included."""
    labels = np.array(draw(st.lists(st.integers(0, 3), min_size=1, max_size=40)))
    seed = draw(st.integers(0, 2**32 - 1))
    spread = draw(st.sampled_from([0.02, 0.3, 5.0]))
    probabilities = np.random.default_rng(seed).dirichlet([spread] * 4, len(labels))
    return probabilities, labels


def test_every_metric_has_a_direction_and_merit_follows_it() -> None:
    figures = {"loss": 0.3, **classification_metrics(np.eye(4)[[0, 1]], [0, 1], CLASSES)}
    assert METRICS.keys() <= figures.keys()
    assert [name for name in METRICS if not METRICS[name].higher_is_better] == ["loss", *PROBABILISTIC]
    for monitor in MONITORS:
        metric = monitored(monitor)
        assert (metric.merit(0.9) > metric.merit(0.1)) == metric.higher_is_better


def test_a_monitor_is_checked_without_numpy_or_torch() -> None:
    code = "import sys, astroclf.evaluation.metrics; sys.exit(any(name in sys.modules for name in ('numpy', 'torch')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@settings(deadline=None, max_examples=40)
@given(classified())
def test_figures_are_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    predicted = probabilities.argmax(1)
    figures = classification_metrics(probabilities, labels, CLASSES)
    assert figures["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(labels, predicted), abs=1e-6)
    scores: dict[str, Callable[..., float]] = {
        "macro_precision": sklearn_metrics.precision_score,
        "macro_recall": sklearn_metrics.recall_score,
        "macro_f1": sklearn_metrics.f1_score,
    }
    for name, score in scores.items():
        expected = score(labels, predicted, average="macro", zero_division=0)
        assert figures[name] == pytest.approx(expected, abs=1e-6), name
    recalls = sklearn_metrics.recall_score(labels, predicted, labels=range(4), average=None, zero_division=np.nan)
    present = {name: recall for name, recall in zip(CLASSES, recalls, strict=True) if not np.isnan(recall)}
    got = {key.removesuffix("/accuracy"): value for key, value in figures.items() if key.endswith("/accuracy")}
    assert got == pytest.approx(present, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(classified())
def test_calibration_error_is_the_mean_gap_over_fifteen_bins(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    confidence, right = probabilities.max(1), probabilities.argmax(1) == labels
    bins = np.minimum((confidence * 15).astype(int), 14)
    expected = sum(
        (bins == b).mean() * abs(right[bins == b].mean() - confidence[bins == b].mean()) for b in np.unique(bins)
    )
    assert classification_metrics(probabilities, labels, CLASSES)["ece"] == pytest.approx(expected, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(classified())
def test_log_loss_and_brier_score_are_scikit_learns(case: tuple[np.ndarray, np.ndarray]) -> None:
    probabilities, labels = case
    probabilities = np.maximum(probabilities, 1e-12)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    figures = classification_metrics(probabilities, labels, CLASSES)
    expected = sklearn_metrics.log_loss(labels, probabilities, labels=range(4))
    assert figures["log_loss"] == pytest.approx(expected, abs=1e-9)
    expected = sklearn_metrics.brier_score_loss(labels, probabilities, labels=range(4), scale_by_half=False)
    assert figures["brier"] == pytest.approx(expected, abs=1e-9)


def test_bins_of_equally_many_images_see_what_equal_bins_average_away() -> None:
    """All confidences lie in one equal bin; half of the images are too sure of themselves, half not sure enough."""
    confidence = np.repeat([0.94, 0.96], 75)
    right = np.arange(150) < 75 + 68  # all of the first half, 68 of 75 of the second
    right = np.concatenate([right[75:], right[:75]])
    assert expected_calibration_error(confidence, right) == pytest.approx(abs((0.95 * 150 - 143) / 150))
    expected = (abs(0.94 * 75 - 68) + abs(0.96 * 75 - 75)) / 150
    assert equal_mass_calibration_error(confidence, right, bins=2) == pytest.approx(expected)
    certain = classification_metrics(np.eye(4)[[0, 1]], [1, 1], CLASSES)
    assert certain["log_loss"] == pytest.approx(126 * np.log(2) / 2), "a truth that was ruled out costs much, not all"


@settings(deadline=None, max_examples=30)
@given(classified(), st.randoms(use_true_random=False))
def test_order_and_container_do_not_matter(case: tuple[np.ndarray, np.ndarray], random: np.random.Generator) -> None:
    probabilities, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    shuffled = classification_metrics(torch.from_numpy(probabilities[order]), torch.from_numpy(labels[order]), CLASSES)
    assert shuffled == pytest.approx(classification_metrics(probabilities, labels, CLASSES), abs=1e-6)


def test_uncertainty_of_right_and_wrong_predictions() -> None:
    probabilities = np.array([[0.9, 0.1, 0, 0], [0.6, 0.4, 0, 0], [0.2, 0.8, 0, 0]])
    labels = [0, 1, 1]  # right, wrong, right
    figures = classification_metrics(probabilities, labels, CLASSES)
    assert figures["mean_uncertainty"] == pytest.approx((0.1 + 0.4 + 0.2) / 3, abs=1e-6)
    assert figures["mean_uncertainty_right"] == pytest.approx(0.15, abs=1e-6)
    assert figures["mean_uncertainty_wrong"] == pytest.approx(0.4, abs=1e-6)
    figures = classification_metrics(probabilities, labels, CLASSES, uncertainty_N=[0.0, 1.0, 0.5])
    assert figures["mean_uncertainty"] == pytest.approx(0.5)
    assert figures["mean_uncertainty_right"] == pytest.approx(0.25)
    assert figures["mean_uncertainty_wrong"] == pytest.approx(1.0)


def test_what_has_nothing_to_average_is_left_out() -> None:
    """NaN is no number in JSON, and draws no curve."""
    figures = classification_metrics(np.eye(4)[[0, 1]], [0, 1], CLASSES)
    assert "mean_uncertainty_wrong" not in figures
    assert {"spiral/accuracy", "smooth/accuracy"} <= figures.keys()
    assert not {"edge-on/accuracy", "merging/accuracy"} & figures.keys()
    assert figures["macro_f1"] == 1.0
    json.dumps(figures, allow_nan=False)
    figures = classification_metrics(np.eye(4)[[0, 1]], [1, 0], CLASSES)
    assert "mean_uncertainty_right" not in figures
    assert figures["accuracy"] == figures["macro_f1"] == 0.0


def test_probabilities_that_rounding_put_above_one_are_no_logits() -> None:
    probabilities = torch.tensor([[1.0000001, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0]])
    figures = classification_metrics(probabilities, [0, 1], CLASSES)
    assert figures["ece"] == pytest.approx(0.0, abs=1e-6)
    assert figures["mean_uncertainty"] == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_plain_floats_from_any_precision(dtype: torch.dtype) -> None:
    figures = classification_metrics(torch.eye(4, dtype=dtype), torch.arange(4), CLASSES)
    assert all(type(value) is float for value in figures.values())
    assert figures["accuracy"] == 1.0


def test_a_network_that_diverged_is_measured_without_a_crash() -> None:
    figures = classification_metrics(np.full((3, 4), np.nan), [0, 1, 2], CLASSES)
    assert figures["accuracy"] <= 1 / 3 + 1e-6
    assert np.isnan(figures["mean_uncertainty"])


@pytest.mark.parametrize(
    ("probabilities", "labels"),
    [(np.zeros((0, 4)), []), (np.eye(4), [0, 1]), (np.eye(3), [0, 1, 2])],
    ids=["no images", "labels missing", "classes missing"],
)
def test_shapes_that_do_not_belong_together_are_refused(probabilities: np.ndarray, labels: list[int]) -> None:
    with pytest.raises(ValueError, match="differ"):
        classification_metrics(probabilities, labels, CLASSES)
