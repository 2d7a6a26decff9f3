"""Against the definition written out, and its limits."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from astroclf.evaluation import bootstrap
from astroclf.evaluation.selective import aurc, excess_aurc, resampled_aurc, risk_coverage


def test_the_area_is_the_mean_risk_of_the_surest_images() -> None:
    score, right = np.array([0.9, 0.2, 0.8, 0.5]), np.array([True, False, False, True])
    curve = risk_coverage(score, right)
    assert curve.coverage_N.tolist() == [0.25, 0.5, 0.75, 1.0]
    np.testing.assert_allclose(curve.risk_N, [0, 1 / 2, 1 / 3, 2 / 4])
    assert aurc(score, right) == pytest.approx(curve.risk_N.mean())


def test_equal_scores_count_as_the_mean_over_their_orders() -> None:
    score, right = np.array([3, 2, 2, 2, 1]), np.array([False, True, False, True, True])
    by_hand = []
    for order in permutations([1, 2, 3]):
        wrong = ~right[[0, *order, 4]]
        by_hand.append((wrong.cumsum() / np.arange(1, 6)).mean())
    assert aurc(score, right) == pytest.approx(np.mean(by_hand))
    assert aurc(np.zeros(5), right) == pytest.approx(0.4), "a score that says nothing: the error at every coverage"


def test_the_best_order_has_no_excess_and_the_worst_the_most() -> None:
    rng = np.random.default_rng(0)
    right = rng.random(50) < 0.8
    assert excess_aurc(right + 0.1 * rng.random(50), right) == pytest.approx(0)
    assert excess_aurc(rng.random(50), right) < excess_aurc(-1.0 * right, right)
    assert aurc(rng.random(5), np.ones(5, bool)) == 0


def test_resamples_scatter_around_the_area_and_are_the_same_for_all_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    score = rng.random(400)
    right = rng.random(400) < score
    drawn = resampled_aurc([score, score**3, rng.random(400)], right, 500)
    assert drawn.shape == (3, 500)
    assert drawn[0].mean() == pytest.approx(aurc(score, right), abs=0.01)
    np.testing.assert_allclose(drawn[0], drawn[1])
    assert (drawn[2] > drawn[0]).all()
    monkeypatch.setattr(bootstrap, "CELLS_PER_CHUNK", 3000)  # a few resamples at a time, for many images
    np.testing.assert_array_equal(resampled_aurc([score], right, 500)[0], drawn[0])


def test_where_every_answer_is_wrong_each_resample_has_the_area_1() -> None:
    """An image that is drawn twice, or not at all, counts so in the answers as well as in the wrong ones."""
    drawn = resampled_aurc([np.arange(20.0)], np.zeros(20, bool), 50)
    np.testing.assert_allclose(drawn, 1)
