from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from astroclf.errors import DataError
from astroclf.evaluation import bootstrap
from astroclf.evaluation.compare import RecallLoss, mcnemar, on_the_same_images, paired_bootstrap, recall_losses
from astroclf.evaluation.metrics import classification_metrics
from astroclf.evaluation.predictions import Predictions


def said(labels: np.ndarray, predicted: np.ndarray, classes: int) -> Predictions:
    names = tuple(f"class {index}" for index in range(classes))
    return Predictions(
        names, np.arange(len(labels)).astype(str), np.eye(classes)[predicted], np.zeros(len(labels)), labels
    )


def two_models(rng: np.random.Generator, images: int, classes: int, *skill: float) -> list[Predictions]:
    """Models that know a share `skill` of the answers and guess the others."""
    labels = rng.integers(0, classes, images)
    guesses = rng.integers(0, classes, (2, images))
    known = rng.random((2, images)) < np.array(skill)[:, None]
    return [said(labels, np.where(knows, labels, guess), classes) for knows, guess in zip(known, guesses, strict=True)]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from(["accuracy", "macro_f1"]))
def test_each_value_is_that_of_metrics_json(images: int, classes: int, seed: int, metric: str) -> None:
    one, other = two_models(np.random.default_rng(seed), images, classes, 0.3, 0.6)
    found = paired_bootstrap(one, other, metric=metric, resamples=10)
    for value, model in ((found.champion, one), (found.challenger, other)):
        assert value == pytest.approx(model.metrics()[metric])
    assert found.difference == found.challenger - found.champion


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from(["accuracy", "macro_f1"]))
def test_a_model_is_not_better_than_itself(images: int, classes: int, seed: int, metric: str) -> None:
    model, _ = two_models(np.random.default_rng(seed), images, classes, 0.5, 0.5)
    found = paired_bootstrap(model, model, metric=metric, resamples=50)
    assert (found.difference, found.low, found.high, found.share_above) == (0, 0, 0, 0)
    assert (found.only_challenger, found.only_champion, found.images) == (0, 0, images)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_the_interval_is_that_of_resampled_images(metric: str) -> None:
    rng = np.random.default_rng(3)
    one, other = two_models(rng, 300, 4, 0.5, 0.58)
    found = paired_bootstrap(one, other, metric=metric, resamples=4000, interval=0.9)
    differences = []
    members = [np.flatnonzero(one.labels == label) for label in range(4)]
    for _ in range(1500):
        drawn = np.concatenate([rng.choice(mine, len(mine)) for mine in members])
        first, second = (
            classification_metrics(model.probabilities[drawn], model.truth[drawn], model.classes)[metric]
            for model in (one, other)
        )
        differences.append(second - first)
    low, high = np.quantile(differences, [0.05, 0.95])
    assert found.low == pytest.approx(low, abs=0.008)
    assert found.high == pytest.approx(high, abs=0.008)
    assert found.share_above == pytest.approx((np.array(differences) > 0).mean(), abs=0.04)


@pytest.mark.parametrize("metric", ["accuracy", "macro_f1"])
def test_a_real_gain_is_told_from_chance(metric: str) -> None:
    rng = np.random.default_rng(0)
    assert paired_bootstrap(*two_models(rng, 1000, 5, 0.6, 0.75), metric=metric, resamples=2000).low > 0
    chance = paired_bootstrap(*two_models(rng, 1000, 5, 0.6, 0.6), metric=metric, resamples=2000)
    assert chance.low < 0 < chance.high


def test_the_same_images_give_the_same_numbers_in_any_order_and_in_any_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    one, other = two_models(rng, 200, 3, 0.5, 0.6)
    order = rng.permutation(200)
    whole = paired_bootstrap(one, other, metric="macro_f1", resamples=3000)
    assert paired_bootstrap(one.take(order), other.take(order), metric="macro_f1", resamples=3000) == whole
    monkeypatch.setattr(bootstrap, "CELLS_PER_CHUNK", 700)
    parts = paired_bootstrap(one, other, metric="macro_f1", resamples=3000)
    assert parts.share_above * 3000 == pytest.approx(round(parts.share_above * 3000))
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.01)
    assert (parts.low, parts.high) != (whole.low, whole.high), "the chunks are drawn anew, or the test shows nothing"


def test_who_alone_was_right_is_counted() -> None:
    labels = np.array([0, 0, 0, 1, 1])
    found = paired_bootstrap(
        said(labels, np.array([0, 1, 1, 1, 0]), 2), said(labels, np.array([0, 0, 0, 0, 0]), 2), resamples=10
    )
    assert (found.only_challenger, found.only_champion) == (2, 1)
    assert (found.champion, found.challenger) == (0.4, 0.6)


def test_recall_is_lost_class_by_class() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    before, now = said(labels, np.array([0, 0, 0, 1, 0, 1]), 3), said(labels, np.array([0, 0, 1, 1, 1, 1]), 3)
    first, second = recall_losses(before, now)  # class 2 has no images
    assert (first.name, first.images, first.lost, first.won, first.loss) == ("class 0", 4, 1, 0, 0.25)
    assert (second.name, second.images, second.lost, second.won, second.loss) == ("class 1", 2, 0, 1, -0.5)


@pytest.mark.parametrize("lost", range(12))
def test_a_loss_of_recall_is_certain_where_the_sign_test_says_so(lost: int) -> None:
    labels = np.zeros(20, int)
    before = said(labels, np.r_[np.zeros(lost, int), np.ones(3, int), np.zeros(17 - lost, int)], 2)
    now = said(labels, np.r_[np.ones(lost, int), np.zeros(20 - lost, int)], 2)
    (found,) = recall_losses(before, now)
    assert (found.lost, found.won) == (lost, 3)
    assert found.certain == (binomtest(lost, lost + 3, 0.5, alternative="greater").pvalue < 0.025)
    assert found.interval.low <= found.loss <= found.interval.high


def test_equal_recalls_are_told_apart_no_more_often_than_the_level_says() -> None:
    rng = np.random.default_rng(0)
    labels = np.zeros(30, int)
    mistaken = sum(
        recall_losses(said(labels, one, 2), said(labels, other, 2))[0].certain
        for one, other in (rng.random((2000, 2, 30)) < 0.2).astype(int)
    )
    assert 0 < mistaken / 2000 < 0.025


def test_predictions_are_joined_by_id() -> None:
    rng = np.random.default_rng(2)
    one, other = two_models(rng, 50, 3, 0.4, 0.9)
    order = rng.permutation(50)
    first, second = on_the_same_images(one, other.take(order))
    expected = paired_bootstrap(one, other, resamples=100)
    assert paired_bootstrap(first, second, resamples=100) == expected
    assert first.ids.tolist() == second.ids.tolist()


def test_what_cannot_be_compared_is_named() -> None:
    labels = np.array([0, 1, 1])
    one = said(labels, labels, 2)
    with pytest.raises(DataError, match=r"different classes \(class 2\)"):
        on_the_same_images(one, said(labels, labels, 3))
    with pytest.raises(DataError, match=r"different classes \(their order\)"):
        on_the_same_images(one, replace(one, classes=one.classes[::-1]))
    with pytest.raises(DataError, match="different images: 1 in only one of them, such as 2"):
        on_the_same_images(one, said(labels[:2], labels[:2], 2))
    with pytest.raises(DataError, match="1 of the test images have another label now, such as 1: class 1.*class 0"):
        on_the_same_images(one, said(np.array([0, 0, 1]), labels, 2))
    with pytest.raises(DataError, match="no labels"):
        on_the_same_images(one, replace(one, labels=None))


@pytest.mark.parametrize(("one", "other"), [(0, 0), (1, 0), (3, 9), (9, 3), (5, 5), (40, 12)])
def test_mcnemars_test_is_the_exact_binomial_one(one, other):
    expected = binomtest(one, one + other, 0.5).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(expected)
    loss = RecallLoss.of("a", 100, max(one, other), min(one, other))  # the same verdict by an interval
    assert (mcnemar(one, other) < 0.05) == loss.certain
