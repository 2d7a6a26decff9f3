"""Splits by patches of sky: a test of another field than what was trained on."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.coordinates import angular_separation

from astroclf.data.split.links import Links, no_pairs
from astroclf.data.split.sky_cells import cell_degrees, sky_cells
from astroclf.data.split.splits import make_splits
from astroclf.errors import ConfigError
from tests.data.split.test_splits import make_catalog, pairs, settings

COUNT = 600
NOTHING = Links(exact=no_pairs(), near=no_pairs(), sky=no_pairs())


@pytest.fixture(scope="module")
def sky():
    rng = np.random.default_rng(3)
    ra = rng.uniform(0, 360, COUNT)
    dec = np.degrees(np.arcsin(rng.uniform(-1, 1, COUNT)))
    return make_catalog(rng.integers(0, 3, COUNT), ra_deg=ra, dec_deg=dec)


def test_cells_are_patches_of_equal_area(sky):
    catalog, _ = sky
    cells = sky_cells(catalog, 2)
    assert cell_degrees(2) == pytest.approx(np.degrees(np.sqrt(4 * np.pi / 48)))
    counts = np.bincount(cells, minlength=48)
    assert len(counts) == 48
    assert counts.max() < 3 * COUNT / 48
    ra, dec = np.radians(catalog.ra_deg), np.radians(catalog.dec_deg)
    for cell in range(48):
        rows = np.flatnonzero(cells == cell)
        apart = angular_separation(ra[rows][:, None], dec[rows][:, None], ra[rows][None], dec[rows][None])
        assert np.degrees(apart).max(initial=0) < 2 * cell_degrees(2)


@pytest.mark.parametrize("fold", [None, "2/5"])
def test_no_patch_is_in_two_splits_and_fractions_hold(sky, fold):
    catalog, digests = sky
    links = Links(exact=no_pairs(), near=pairs((0, 1)), sky=no_pairs())
    result = make_splits(catalog, digests, links, settings(split_by="sky", sky_nside=4, fold=fold))
    cells = sky_cells(catalog, 4)
    parts = [set(cells[getattr(result.splits, name)]) for name in ("train", "val", "test")]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
    wanted = (0.15 if fold is None else 0.2) * COUNT
    assert abs(len(result.splits.test) - wanted) < 0.04 * COUNT
    assert result.groups[0] == result.groups[1], "links still count"
    assert any("patches of sky, 14.7° wide" in remark for remark in result.remarks)
    by_samples = make_splits(catalog, digests, links, settings(fold=fold)).splits
    assert set(cells[by_samples.train]) & set(cells[by_samples.test])


def test_patches_that_are_too_large_are_said_with_the_remedy(sky):
    catalog, digests = sky
    rows = np.flatnonzero(catalog.dec_deg > -90)
    crowded = catalog.take(rows)
    crowded.ra_deg[:400], crowded.dec_deg[:400] = 45.0, 10.0
    result = make_splits(crowded, digests, NOTHING, settings(split_by="sky", sky_nside=4))
    assert any("more than the test split: dataset.sky_nside=8" in remark for remark in result.remarks)


def test_what_cannot_be_is_refused_with_the_remedy(sky):
    catalog, digests = sky
    bare, _ = make_catalog(catalog.labels)
    with pytest.raises(ConfigError, match=r"600 of 600 have none, `row-0` first.*dataset\.split_by=samples"):
        make_splits(bare, digests, NOTHING, settings(split_by="sky"))
    lost = catalog.take(np.arange(COUNT))
    lost.dec_deg[7] = np.nan
    with pytest.raises(ConfigError, match="1 of 600 have none, `row-7` first"):
        make_splits(lost, digests, NOTHING, settings(split_by="sky"))
    given, _ = make_catalog(catalog.labels, ra_deg=catalog.ra_deg, dec_deg=catalog.dec_deg, split=["train"] * COUNT)
    with pytest.raises(ConfigError, match="gives its samples splits of its own"):
        make_splits(given, digests, NOTHING, settings(split_by="sky"))
    with pytest.raises(ConfigError, match=r"dataset\.sky_nside=6 is no power of two"):
        settings(sky_nside=6)
