"""Bands of one field, told by their names: which names say so, and the patterns that join them."""

from __future__ import annotations

import numpy as np
import pytest

from astroclf.data.catalog import Catalog
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.split.field_bands import find_fields, joining_hint, joining_patterns


def catalog_of(*ids: str, labels: list[int] | None = None) -> Catalog:
    return Catalog(np.array(ids), np.array(labels or [0] * len(ids)), ("galaxy", "star"))


@pytest.mark.parametrize(
    ("ids", "patterns"),
    [
        (("g/sdss_g.fits.bz2", "g/sdss_i.fits.bz2", "g/sdss_r.fits.bz2"), ("{id}_i", "{id}_r", "{id}_g")),
        (("g/m51_g.fits", "g/m51_r.fits", "g/m81_g.fits", "g/m81_r.fits"), ("{id}_r", "{id}_g")),
        (("g/m51-B.fits", "g/m51-V.fits"), ("{id}-V", "{id}-B")),
        (("g/x_F606W_drz.fits", "g/x_F814W_drz.fits"), ("{id}_F814W_drz", "{id}_F606W_drz")),
        (("g/x_F160W.fits", "g/x_F814W.fits"), ("{id}_F160W", "{id}_F814W")),
        (("g/f-g-1.fits", "g/f-r-1.fits", "g/f-g-2.fits", "g/f-r-2.fits"), ("f-r-{id}", "f-g-{id}")),
        (("g/g/m51.fits", "g/r/m51.fits", "g/g/m81.fits", "g/r/m81.fits"), ("r/{id}", "g/{id}")),
        (("g/cosmos_850um.fits", "g/cosmos_1400mhz.fits"), ("{id}_1400mhz", "{id}_850um")),
    ],
)  # fmt: skip
def test_names_that_differ_in_the_band_are_one_field_and_the_proposed_patterns_join_them(ids, patterns):
    fields = find_fields(catalog_of(*ids))
    assert sorted(row for field in fields for row in field.rows) == list(range(len(ids)))
    proposed = joining_patterns(fields)
    assert [name.removesuffix(".bz2").removesuffix(".fits") for name in proposed] == list(patterns)
    samples, unused = BandFiles(proposed).group(ids)
    assert len(samples) == len(fields)
    assert unused == []


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        (("g/star_a.png", "g/star_b.png", "g/star_g.png"), None),  # letters that count on
        (("g/m51_g.fits", "g/m52_r.fits"), None),
        (("g/m51_g.fits", "g/m51_r.jpg"), None),
        (("x/m51_g.fits", "x/m51_r.fits"), [0, 1]),
        (("g/img_001.fits", "g/img_002.fits"), None),
        (("g/m51_g.fits",), None),
        (("row-000001", "row-000002"), None),
    ],
)
def test_other_names_are_no_bands(ids, labels):
    assert find_fields(catalog_of(*ids, labels=labels)) == []


def test_bands_that_no_pattern_joins_are_told_without_one():
    fields = find_fields(catalog_of("g/m51_g.png", "g/m51_r.png"))
    assert len(fields) == 1
    assert joining_patterns(fields) == ()
    assert "only the band differs" in joining_hint(fields)


def test_another_number_of_bands_than_three_needs_channels():
    fields = find_fields(catalog_of("g/a_g.fits", "g/a_r.fits", "g/a_i.fits", "g/a_z.fits"))
    assert joining_hint(fields).endswith(
        "['{id}_z.fits','{id}_i.fits','{id}_r.fits','{id}_g.fits']\" dataset.channels=4"
    )
