"""Neighbours on the sky: across 0h, at the poles, and nobody whose position is unknown."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.split.sky import sky_neighbours

ARCSEC = 1 / 3600


def test_separations_are_on_the_sphere():
    pairs = sky_neighbours(np.array([10.0, 10.0, 10.0 + 120 * ARCSEC]), np.array([60.0, 60 + 50 * ARCSEC, 60.0]), 67.1)
    assert pairs.rows.tolist() == [[0, 1], [0, 2]]  # at a declination of 60 degrees, 120" of right ascension are 60"
    np.testing.assert_allclose(pairs.score, [50, 60], atol=0.01)


@pytest.mark.parametrize(
    ("ra", "dec"),
    [
        ([359.999, 0.001], [0.0, 0.0]),  # 7.2" apart, across 0h
        ([-0.001, 0.001], [0.0, 0.0]),
        ([0.0, 180.0], [89.999, 89.999]),  # 7.2" apart, across the pole
    ],
)
def test_neighbours_across_the_seams(ra, dec):
    pairs = sky_neighbours(np.array(ra), np.array(dec), 8.0)
    assert pairs.rows.tolist() == [[0, 1]]
    np.testing.assert_allclose(pairs.score, 7.2, atol=0.01)
    assert len(sky_neighbours(np.array(ra), np.array(dec), 7.0).rows) == 0


def test_unknown_positions_have_no_neighbours():
    ra, dec = np.array([np.nan, 5.0, 5.0, np.nan, 5.0]), np.array([1.0, 1.0, np.nan, np.nan, 1.0])
    assert sky_neighbours(ra, dec, 10).rows.tolist() == [[1, 4]]
    assert len(sky_neighbours(ra[:1], dec[:1], 10).rows) == 0
    assert len(sky_neighbours(None, None, 10).rows) == 0


def test_all_pairs_of_a_field_are_found():
    rng = np.random.default_rng(0)
    ra, dec = rng.uniform(150, 150.2, 200), rng.uniform(2, 2.2, 200)
    east = (ra[:, None] - ra) * np.cos(np.radians(dec))[:, None]
    apart = np.hypot(east, dec[:, None] - dec) / ARCSEC
    expected = {tuple(pair) for pair in np.argwhere(np.triu(apart < 40, 1)).tolist()}
    pairs = sky_neighbours(ra, dec, 40)
    assert expected == {tuple(pair) for pair in pairs.rows.tolist()}
    assert pairs.rows.tolist() == sorted(pairs.rows.tolist())
