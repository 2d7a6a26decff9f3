"""Neighbours, the map and the choice of what to label, on embeddings whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.use.explore import neighbours
from astroclf.use.explore.neighbours import directions, map_of, nearest_images, neighbours_accuracy, to_label_next


@pytest.fixture
def clusters() -> np.ndarray:
    """Three tight bundles of directions, eight in each."""
    rng = np.random.default_rng(0)
    return (np.repeat(np.eye(3, 6), 8, axis=0) + rng.normal(0, 0.05, (24, 6))).astype(np.float32)


def test_neighbours_are_those_of_the_whole_matrix_in_chunks_too(clusters, monkeypatch):
    monkeypatch.setattr(neighbours, "CHUNK", 5)
    rows, cosines = nearest_images(directions(clusters * np.arange(1, 25)[:, None]), 4)
    norms = np.linalg.norm(clusters, axis=1)
    whole = clusters @ clusters.T / np.outer(norms, norms)
    np.fill_diagonal(whole, -1)
    np.testing.assert_array_equal(rows, np.argsort(-whole, axis=1)[:, :4])
    np.testing.assert_allclose(cosines, -np.sort(-whole, axis=1)[:, :4], rtol=1e-5)


def test_of_few_images_all_others_are_neighbours():
    rows, _ = nearest_images(directions(np.eye(3, dtype=np.float32)), 12)
    assert [sorted(row) for row in rows.tolist()] == [[1, 2], [0, 2], [0, 1]]
    assert nearest_images(directions(np.ones((1, 3), np.float32)), 12)[0].shape == (1, 0)


def test_labels_of_neighbours_tell_how_well_classes_gather(clusters):
    rows, cosines = nearest_images(directions(clusters), 7)
    labels = np.repeat(["a", "b", "c"], 8)
    assert neighbours_accuracy(rows, cosines, labels) == 1
    shuffled = np.tile(["a", "b", "c"], 8)
    assert neighbours_accuracy(rows, cosines, shuffled) < 0.6
    labels[1:] = ""
    assert neighbours_accuracy(rows, cosines, labels) == 0  # nobody near has a label
    assert np.isnan(neighbours_accuracy(rows, cosines, np.full(24, "")))


def test_the_map_keeps_bundles_together_and_is_the_same_for_a_seed(clusters):
    places = map_of(clusters, 0)
    assert places.min() == 0
    assert places.max() == 1
    near = ((places[:, None] - places[None]) ** 2).sum(axis=2)
    np.fill_diagonal(near, np.inf)
    assert (near.argmin(axis=1) // 8 == np.arange(24) // 8).all()
    np.testing.assert_array_equal(places, map_of(clusters, 0))


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_there_is_a_map_of_few_images_and_of_equal_ones(count):
    rng = np.random.default_rng(1)
    for features in (rng.normal(size=(count, 8)), np.ones((count, 8)), rng.normal(size=(count, 1))):
        places = map_of(features.astype(np.float32), 0)
        assert places.shape == (count, 2)
        assert np.isfinite(places).all()


def test_what_to_label_next_is_uncertain_and_diverse(clusters):
    uncertainty = np.repeat([0.9, 0.5, 0.1], 8) + np.arange(24) * 1e-3
    rows, worth = to_label_next(directions(clusters), uncertainty, np.zeros(24, bool), 3)
    assert rows[0] == 7  # the least sure of all
    assert sorted(rows // 8) == [0, 1, 2]  # then not its like, of which the model is as unsure
    assert (np.diff(worth) <= 0).all()


def test_what_has_a_label_is_not_asked_for_nor_what_is_like_it(clusters):
    labelled = np.arange(24) < 7
    rows, _ = to_label_next(directions(clusters), np.ones(24), labelled, 24)
    assert len(rows) == 17
    assert not labelled[rows].any()
    assert rows[0] >= 8  # row 7 is like the labelled ones
    assert len(to_label_next(directions(clusters), np.ones(24), np.ones(24, bool), 5)[0]) == 5
