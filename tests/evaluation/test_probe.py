"""Linear probes of frozen features: what they find, and that no label has a part in what is said of it."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.evaluation.probe import CUT, count_fits, linear_probe

FOLD = np.arange(60) % 3
LABELS = np.arange(60) // 3 % 2
CLEAR = np.random.default_rng(0).normal(size=(60, 4)) + 4 * LABELS[:, None]


def test_features_that_tell_the_classes_apart_are_told_from_noise():
    noise = np.random.default_rng(1).normal(size=(60, 4))
    right = [(linear_probe(features, LABELS, FOLD, 2).argmax(axis=1) == LABELS).mean() for features in (CLEAR, noise)]
    assert right[0] > 0.95
    assert 0.2 < right[1] < 0.8


def test_the_labels_of_a_fold_have_no_part_in_what_is_said_of_it():
    said = linear_probe(CLEAR, LABELS, FOLD, 2)
    turned = np.where(FOLD == 1, 1 - LABELS, LABELS)
    again = linear_probe(CLEAR, turned, FOLD, 2)
    np.testing.assert_array_equal(said[FOLD == 1], again[FOLD == 1])
    assert not np.allclose(said[FOLD == 0], again[FOLD == 0])


def test_a_feature_that_is_zero_but_once_spoils_no_probability():
    rare = CLEAR.copy()
    rare[:, 3] = 0.0
    rare[0, 3], rare[3, 3] = 1e4, -1e-4  # in one fold: the others have next to no variance there
    rare[1, 3] = 1e-6
    said = linear_probe(rare, LABELS, FOLD, 2)
    assert -np.log(said[0, LABELS[0]]) < CUT


def test_a_class_that_a_fit_has_not_seen_gets_no_probability():
    labels = np.where(FOLD == 2, 2, LABELS)
    said = linear_probe(CLEAR, labels, FOLD, 3)
    assert (said[FOLD == 2, 2] == 0).all()
    np.testing.assert_allclose(said.sum(axis=1), 1)


@pytest.mark.parametrize("folds", [3, 5])
def test_as_many_fits_are_told_as_were_announced(folds):
    told = []
    linear_probe(CLEAR, LABELS, np.arange(60) % folds, 2, told.append)
    assert sum(told) == count_fits(folds)
