"""Figures of labelled answers, against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from astroclf.evaluation.assessment import assess, within_top
from astroclf.evaluation.intervals import share_interval
from astroclf.evaluation.predictions import Predictions


def drawn(images: int = 300, classes: int = 5, seed: int = 0) -> Predictions:
    """Answers that are right more often than not, of classes of unequal size; the last class has no image."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes - 1, images, p=[0.5, 0.3, 0.15, 0.05])
    logits = rng.normal(size=(images, classes)) + 1.5 * np.eye(classes)[labels]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    names = tuple(f"class {k}" for k in range(classes))
    return Predictions(names, np.arange(images).astype(str), probabilities, 1 - probabilities.max(axis=1), labels)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")  # which is what is tried
def test_figures_are_those_of_scikit_learn():
    said = drawn()
    found, every = assess(said), {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": reference.accuracy_score(said.truth, said.predicted),
        "balanced_accuracy": reference.balanced_accuracy_score(said.truth, said.predicted),
        "macro_f1": reference.f1_score(said.truth, said.predicted, **every),
        "macro_precision": reference.precision_score(said.truth, said.predicted, **every),
        "macro_recall": reference.recall_score(said.truth, said.predicted, **every),
        "top2_accuracy": reference.top_k_accuracy_score(said.truth, said.probabilities, k=2, labels=range(5)),
    }
    assert {name: figure.value for name, figure in found.of_all.items()} == pytest.approx(expected)
    assert found.of_all["balanced_accuracy"].value > found.of_all["macro_recall"].value  # the class without images
    by_class = reference.precision_recall_fscore_support(said.truth, said.predicted, zero_division=0)
    for kind, values in zip(("precision", "recall", "f1"), by_class, strict=False):
        for label in range(4):
            assert found.of_class[f"class {label}"][kind].value == pytest.approx(values[label])
    assert "class 4" not in found.of_class


def test_shares_have_exact_intervals_and_all_others_those_of_resampled_images():
    said = drawn()
    found = assess(said)
    assert found.of_all["accuracy"].interval == share_interval(int(said.right.sum()), 300)
    rng = np.random.default_rng(1)
    f1 = []
    for _ in range(400):  # the plain bootstrap, image by image
        rows = np.concatenate(
            [rng.choice(rows, len(rows)) for k in range(4) if len(rows := np.flatnonzero(said.truth == k))]
        )
        f1.append(reference.f1_score(said.truth[rows], said.predicted[rows], average="macro", zero_division=0))
    np.testing.assert_allclose(found.of_all["macro_f1"].interval, np.quantile(f1, [0.025, 0.975]), atol=0.02)


def test_every_figure_stands_between_its_bounds_and_has_a_name_in_the_metrics():
    flat = assess(drawn(images=40)).metrics()
    for name in [name for name in flat if not name.endswith(("_low", "_high"))]:
        assert flat[f"{name}_low"] <= flat[name] + 1e-12
        assert flat[name] <= flat[f"{name}_high"] + 1e-12
    assert {"top2_accuracy", "class 0/precision_low", "class 1/f1"} <= flat.keys()


def test_the_label_is_among_the_top_where_no_more_are_above_it(predictions):
    assert within_top(predictions, 1).tolist() == predictions.right.tolist()
    assert within_top(predictions, 2).tolist() == [True, True, True, True, True, True]
    assert within_top(predictions.take([5]), 1).tolist() == [False]
