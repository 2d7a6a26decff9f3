"""Which measure of doubt finds the wrong answers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from astroclf.evaluation.doubt import BASELINE, ENTROPY, UNCERTAINTY, doubt_measures, doubt_scores
from astroclf.evaluation.predictions import Predictions


@pytest.fixture
def said() -> Predictions:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    logits = rng.normal(size=(400, 4)) + 1.2 * np.eye(4)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return Predictions(tuple("abcd"), np.arange(400).astype(str), probabilities, rng.uniform(size=400), labels)


def by_name(said: Predictions) -> dict:
    return {score.name: score for score in doubt_scores(doubt_measures(said), ~said.right)}


def test_auroc_is_that_of_scikit_learn_with_ties(said):
    coarse = replace(said, uncertainty=said.uncertainty.round(1))
    found = by_name(coarse)
    for name, values in doubt_measures(coarse).items():
        assert found[name].auroc == pytest.approx(roc_auc_score(~coarse.right, values))


def test_a_head_that_knows_nothing_shows(said):
    found = by_name(said)
    assert found[UNCERTAINTY].verdict == "worse"
    assert found[UNCERTAINTY].interval.low < 0.5 < found[UNCERTAINTY].interval.high
    assert found[BASELINE].auroc > 0.6


def test_a_head_that_knows_better_shows(said):
    noise = np.random.default_rng(1).uniform(size=400)
    found = by_name(replace(said, uncertainty=0.7 * ~said.right + 0.3 * noise))
    assert found[UNCERTAINTY].verdict == "better"
    assert found[UNCERTAINTY].gain == pytest.approx(found[UNCERTAINTY].auroc - found[BASELINE].auroc)


def test_a_copy_of_the_baseline_gains_nothing(said):
    doubt = 1 - said.probabilities.max(axis=1)
    _, copy = doubt_scores({BASELINE: doubt, UNCERTAINTY: doubt}, ~said.right)
    assert copy.gain_interval == (0, 0)
    assert copy.verdict == "no better beyond doubt"


def test_what_is_the_highest_probability_by_another_name_is_no_measure_of_its_own(said):
    assert UNCERTAINTY not in doubt_measures(replace(said, uncertainty=1 - said.probabilities.max(axis=1)))
    of_two = said.probabilities[:, :2] / said.probabilities[:, :2].sum(axis=1, keepdims=True)
    two = Predictions(tuple("ab"), said.ids, of_two, said.uncertainty, said.truth % 2)
    assert list(doubt_measures(two)) == [UNCERTAINTY, BASELINE]


def test_intervals_are_as_wide_as_those_of_resampled_images(said):
    rng, found, gains = np.random.default_rng(2), by_name(said)[ENTROPY], []
    measures, aurocs = doubt_measures(said), []
    for _ in range(300):
        rows = rng.integers(0, 400, 400)
        wrong = ~said.right[rows]
        aurocs.append(roc_auc_score(wrong, measures[ENTROPY][rows]))
        gains.append(aurocs[-1] - roc_auc_score(wrong, measures[BASELINE][rows]))
    np.testing.assert_allclose(found.interval, np.quantile(aurocs, [0.025, 0.975]), atol=0.02)
    np.testing.assert_allclose(found.gain_interval, np.quantile(gains, [0.025, 0.975]), atol=0.006)


def test_where_all_are_right_there_is_nothing_to_find(said):
    assert by_name(said.take(said.right)) == {}


@pytest.mark.parametrize("wrong", [1, 2, 5])
def test_of_a_handful_of_mistakes_nothing_is_said(wrong):
    doubt = np.arange(100) / 100  # the measure that knows all beside one that knows nothing
    blind = np.random.default_rng(0).uniform(size=100)
    for mistakes in (doubt >= 1 - wrong / 100, doubt < 1 - wrong / 100):
        assert doubt_scores({BASELINE: blind, UNCERTAINTY: doubt}, mistakes) == []


def test_of_few_mistakes_no_measure_is_called_better_or_worse_by_chance():
    rng, called = np.random.default_rng(0), 0
    wrong = np.arange(106) < 6
    for _ in range(200):
        common = rng.normal(size=106) + wrong
        twins = {name: common + rng.normal(size=106) for name in (BASELINE, UNCERTAINTY)}
        called += doubt_scores(twins, wrong)[1].verdict in ("better", "worse")
    assert called <= 14  # 5 % are 10; by a normal interval it would be 20
