"""What stands beside a figure: its interval, and what blind answers get."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest

from astroclf.evaluation.intervals import baselines, intervals_and_baselines, metric_interval, share_interval
from astroclf.evaluation.metrics import classification_metrics
from astroclf.evaluation.predictions import Predictions


def said(labels: np.ndarray, predicted: np.ndarray, classes: int) -> Predictions:
    names = tuple(f"class {index}" for index in range(classes))
    ids = np.arange(len(labels)).astype(str)
    return Predictions(names, ids, np.eye(classes)[predicted], np.zeros(len(labels)), labels)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.floats(0, 1), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_interval_of_a_share_is_that_of_scipy(images: int, share: float, level: float) -> None:
    hits = round(share * images)
    expected = binomtest(hits, images).proportion_ci(level, method="exact")
    assert share_interval(hits, images, level) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.97])
@pytest.mark.parametrize("images", [1, 5, 40])
def test_the_interval_of_a_share_holds_the_true_one_as_often_as_it_says(images: int, share: float) -> None:
    held = [
        hits
        for hits in range(images + 1)
        if share_interval(hits, images)[0] <= share <= share_interval(hits, images)[1]
    ]
    assert binom.pmf(held, images, share).sum() >= 0.95


def test_of_no_images_nothing_is_known() -> None:
    assert share_interval(0, 0) == (0, 1)


def test_the_interval_of_the_macro_f1_holds_what_other_images_give() -> None:
    rng = np.random.default_rng(0)

    def tested(images: int) -> Predictions:
        labels = rng.choice(4, images, p=[0.5, 0.3, 0.15, 0.05])
        return said(labels, np.where(rng.random(images) < 0.7, labels, rng.integers(0, 4, images)), 4)

    true = tested(200_000).metrics()["macro_f1"]
    held = [
        low <= true <= high for low, high in (metric_interval("macro_f1", tested(300), 0.9, 300) for _ in range(150))
    ]
    assert 0.8 < np.mean(held) < 0.97


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=2, max_size=6), st.integers(0, 2**31))
def test_no_blind_answers_do_better_than_the_baselines_say(shares: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(shares)), np.array(shares) * 1000)
    answers = rng.choice(len(shares), len(labels), p=rng.dirichlet(np.ones(len(shares))))
    truth = said(labels, labels, len(shares))
    found = classification_metrics(np.eye(len(shares))[answers], labels, truth.classes)
    for metric in ("accuracy", "macro_f1"):
        assert found[metric] <= baselines(truth).best(metric)[0] + 0.02
    as_they_occur = said(labels, rng.permutation(labels), len(shares)).metrics()["macro_f1"]
    assert as_they_occur == pytest.approx(baselines(truth).best("macro_f1")[0], abs=0.02)


def test_the_baselines_are_those_of_classes_that_were_tested(predictions: Predictions) -> None:
    found = baselines(predictions)
    assert (found.chance, found.majority, found.majority_class) == (0.5, 0.5, "Merging")
    most = replace(predictions, labels=np.array([1, 1, 0, 1, 1, 1]))
    assert baselines(most).best("accuracy") == (5 / 6, "always saying Round Smooth")


def test_the_figures_beside_the_headlines_have_their_names(predictions: Predictions) -> None:
    found = intervals_and_baselines(predictions)
    assert set(found) == {
        "accuracy_low", "accuracy_high", "macro_f1_low", "macro_f1_high", "chance_accuracy", "majority_accuracy"
    }  # fmt: skip
    assert found["accuracy_low"] < predictions.metrics()["accuracy"] < found["accuracy_high"]
