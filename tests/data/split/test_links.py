"""Links of an image cache: found once, kept beside the pixels, and added up; neighbours across 0h and at the poles."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import Catalog
from astroclf.data.split import links as module
from astroclf.data.split.groups import group_rows
from astroclf.data.split.links import Links, Pairs, connected, find_links, sky_neighbours
from tests.audit.planted import picture

ARCSEC = 1 / 3600  # degrees


def make_image_cache(path: Path) -> ImageCache:
    """Rows 0 and 1 are equal, 2 is 0 mirrored, 3 and 4 are neighbours on the sky."""
    images = np.stack([picture(0), picture(0), picture(0)[:, ::-1], picture(1), picture(2)])
    catalog = Catalog(
        ids=np.array([f"{row}.png" for row in range(5)]),
        labels=np.zeros(5, np.int64),
        classes=("galaxy",),
        ra_deg=np.array([np.nan, 10, 20, 30, 30.001]),
        dec_deg=np.zeros(5),
    )
    digests = np.array(["a", "a", "b", "c", "d"])
    return ImageCache(images, images[..., 1].copy(), catalog, digests, digests, "", path, ())


def assert_planted(links: Links) -> None:
    assert links.exact.rows.tolist() == [[0, 1]]
    assert links.near.rows.tolist() == [[0, 2]]  # of the equal ones, the first speaks for all
    assert links.sky.rows.tolist() == [[3, 4]]
    assert connected(5, links.exact.rows, links.near.rows, links.sky.rows).tolist() == [0, 0, 0, 1, 1]
    assert links.copies(5).tolist() == [0, 0, 0, 1, 2]


def refuse(*_: object, **__: object) -> Pairs:
    raise AssertionError("compared again")


def test_links_are_found_once(tmp_path, monkeypatch):
    cache = make_image_cache(tmp_path)
    assert_planted(find_links(cache, near=True, sky_arcsec=10))
    assert len(find_links(cache, near=True, sky_arcsec=3).sky.rows) == 0
    monkeypatch.setattr(module, "near_duplicates", refuse)
    monkeypatch.setattr(module, "sky_neighbours", refuse)
    assert_planted(find_links(cache, near=True, sky_arcsec=10))
    with pytest.raises(AssertionError, match="compared again"):
        find_links(cache, near=True, sky_arcsec=11)


def test_only_what_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "near_duplicates", refuse)
    links = find_links(make_image_cache(tmp_path), near=False, sky_arcsec=None)
    assert links.exact.rows.tolist() == [[0, 1]]
    assert len(links.near.rows) == len(links.sky.rows) == 0


def test_damaged_files_are_found_again(tmp_path):
    cache = make_image_cache(tmp_path)
    find_links(cache, near=True, sky_arcsec=10)
    kept = sorted(tmp_path.glob("*.npz"))
    assert len(kept) == 2
    kept[0].write_bytes(kept[0].read_bytes()[:40])
    kept[1].write_bytes(b"")
    assert_planted(find_links(cache, near=True, sky_arcsec=10))


def test_a_cache_that_cannot_be_written_to(tmp_path):
    (tmp_path / "file").touch()
    assert_planted(find_links(make_image_cache(tmp_path / "file" / "cache"), near=True, sky_arcsec=10))


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_connected_is_what_walking_along_the_links_reaches(pairs):
    reached = np.eye(20, dtype=bool)
    for first, second in pairs:
        reached[first, second] = reached[second, first] = True
    for _ in range(5):
        reached |= (reached.astype(int) @ reached.astype(int)) > 0
    groups = connected(20, np.array(pairs, np.int64).reshape(-1, 2))
    np.testing.assert_array_equal(groups[:, None] == groups, reached)
    _, first = np.unique(groups, return_index=True)
    assert (np.diff(first) > 0).all()  # numbered by their first row


def test_a_long_chain_is_one_group():
    order = np.random.default_rng(0).permutation(20_000)
    chain = np.stack([order[:-1], order[1:]], axis=1)
    assert connected(20_000, chain[:5_000], chain[5_000:]).max() == 0


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


def test_bands_of_one_field_are_linked_as_such_and_are_no_near_copies(tmp_path):
    cache = make_image_cache(tmp_path)
    names = np.array(["m51_g.fits", "m51_x.png", "m51_r.fits", "m81_g.fits", "m81_r.fits"])
    cache = replace(cache, catalog=replace(cache.catalog, ids=names))
    links = find_links(cache, near=True, sky_arcsec=None)
    assert links.bands.rows.tolist() == [[0, 2], [3, 4]]
    assert links.near.rows.tolist() == []  # row 2 is row 0 mirrored
    assert len(find_links(cache, near=False, sky_arcsec=None).bands.rows) == 0
    assert group_rows(cache.catalog, links)[0].tolist() == [0, 0, 0, 1, 1]
