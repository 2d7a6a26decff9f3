"""The guarantee on exchangeable draws, and MAPIE on the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from mapie.classification import SplitConformalClassifier
from mapie.metrics.classification import classification_coverage_score, classification_mean_width_score
from scipy import special
from sklearn.base import BaseEstimator, ClassifierMixin

from astroclf.errors import ConfigError
from astroclf.evaluation.conformal import Conformal, fit_conformal, set_metrics, strangeness
from astroclf.evaluation.predictions import Predictions
from tests.evaluation.drawn import CLASSES, drawn


def test_an_image_is_the_stranger_the_more_mass_lies_above_a_class() -> None:
    found = strangeness(np.array([[0.2, 0.5, 0.3], [0.4, 0.2, 0.4]]))
    np.testing.assert_allclose(found.score_NC, [[0.8, -0.5, 0.5], [-0.4, 0.8, 0.4]])
    assert found.rank_NC.tolist() == [[3, 1, 2], [1, 3, 2]]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_the_next_image_of_a_class_is_covered_as_often_as_asked_for(coverage: float) -> None:
    """Over many draws of 60 calibration images a class: on average, neither less nor more than 1 / 60 above."""
    found = []
    for seed in range(60):
        said = drawn(1300, seed=seed, temperature=2.0)  # calibration is no condition
        rule = fit_conformal(said.probabilities[:300], said.truth[:300], coverage)
        assert rule is not None
        covered = rule(said.probabilities[300:])[np.arange(1000), said.truth[300:]]
        found.append([covered[said.truth[300:] == label].mean() for label in range(len(CLASSES))])
    by_class = np.mean(found, axis=0)
    assert (by_class > coverage - 0.015).all(), by_class
    assert (by_class < coverage + 0.03).all(), by_class


def test_classes_that_are_nearly_always_right_are_covered_no_more_than_asked_for() -> None:
    """Some sets are empty then: of images whose label is told with less than of nearly all others of its class."""
    said = drawn(8000, spread=6.0)
    rule = fit_conformal(said.probabilities[:4000], said.truth[:4000], 0.8)
    assert rule is not None
    told = said.take(slice(4000, 8000))
    sets = rule(told.probabilities)
    assert told.right.mean() > 0.85
    assert sets[np.arange(4000), told.truth].mean() == pytest.approx(0.8, abs=0.02)
    empty = sets.sum(axis=1) == 0
    assert told.confidence[empty].mean() < told.confidence[~empty].mean()
    assert told.right[~empty].mean() > told.right[empty].mean() + 0.2


def test_sets_are_smaller_than_mapies_of_the_same_score_and_cover_the_same() -> None:
    said = drawn(6000, temperature=1.5, spread=3.0)
    probabilities = said.probabilities.astype(np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    first, second = slice(0, 3000), slice(3000, 6000)

    class Said(ClassifierMixin, BaseEstimator):
        """A classifier whose features are its probabilities."""

        classes_ = np.arange(len(CLASSES))

        def fit(self, features: np.ndarray, labels: np.ndarray) -> Said:
            return self

        def predict_proba(self, features: np.ndarray) -> np.ndarray:
            return features

        def predict(self, features: np.ndarray) -> np.ndarray:
            return features.argmax(axis=1)

    reference = SplitConformalClassifier(Said(), confidence_level=0.9, conformity_score="aps", prefit=True)
    reference.conformalize(probabilities[first], said.truth[first])
    _, theirs = reference.predict_set(probabilities[second], {"include_last_label": True})
    rule = fit_conformal(probabilities[first], said.truth[first], 0.9)
    assert rule is not None
    ours = rule(probabilities[second])[:, :, None]
    assert classification_coverage_score(said.truth[second], ours)[0] == pytest.approx(0.9, abs=0.015)
    assert classification_coverage_score(said.truth[second], theirs)[0] > 0.93, "it covers more than was asked for"
    assert classification_mean_width_score(ours)[0] < 0.85 * classification_mean_width_score(theirs)[0]


def test_classes_with_few_images_share_a_rule() -> None:
    said = drawn(1000, temperature=1.5)
    kept = (said.truth < 3) | (np.arange(1000) < 60)  # about 12 of each of the last two classes
    rule = fit_conformal(said.probabilities[kept], said.truth[kept], 0.9)
    assert rule is not None
    assert rule.thresholds[3] == rule.thresholds[4]
    assert rule.ranks[3] == rule.ranks[4]
    assert len(set(rule.thresholds)) == 4


def test_a_class_without_images_takes_the_rule_of_all() -> None:
    said = drawn(400, temperature=1.5)
    kept = said.truth != 2
    rule = fit_conformal(said.probabilities[kept], said.truth[kept], 0.9)
    assert rule is not None
    assert -1 < rule.thresholds[2] < 1


def test_too_few_images_give_no_rule() -> None:
    said = drawn(8)
    assert fit_conformal(said.probabilities, said.truth, 0.9) is None
    assert fit_conformal(said.probabilities, said.truth, 0.8) is not None


def test_the_rank_limit_cuts_sets_of_a_network_that_is_now_too_sure_and_now_not_enough() -> None:
    """Mass says little then, rank much."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (3000, 10))
    labels = rng.integers(0, 10, 3000)
    logits[np.arange(3000), labels] += 2.0
    probabilities = special.softmax(logits * 4 ** rng.normal(0, 1, (3000, 1)), axis=1)
    rule = fit_conformal(probabilities, labels, 0.9)
    assert rule is not None
    own_score = strangeness(probabilities).score_NC[np.arange(3000), labels]
    thresholds = [float(np.quantile(own_score[labels == label], 0.9)) for label in range(10)]
    without_limit = Conformal(coverage=0.9, thresholds=thresholds, ranks=[10] * 10)
    assert rule(probabilities).sum() < 0.9 * without_limit(probabilities).sum()
    assert max(rule.ranks) < 10


def test_figures_of_sets_are_counted() -> None:
    sets = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
    said = Predictions(
        ("a", "b", "c"),
        np.array(["0", "1", "2"]),
        np.eye(3)[[0, 0, 1]],
        np.zeros(3),
        labels=np.array([0, 1, 0]),
        sets=sets,
    )
    figures = set_metrics(said)
    assert figures == pytest.approx({"coverage": 2 / 3, "set_size": 5 / 3, "a/coverage": 0.5, "b/coverage": 1.0})


@pytest.mark.parametrize(
    "wrong", [{"coverage": 1.0}, {"thresholds": [0.2, -1.2]}, {"ranks": [0, 1]}, {"ranks": [1, 3]}], ids=str
)
def test_numbers_that_no_fit_gives_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        Conformal(**{"coverage": 0.9, "thresholds": [0.2, 0.3], "ranks": [1, 2], **wrong})
