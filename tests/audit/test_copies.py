"""Samples that show the same, and splits that tear them apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from astroclf.audit.copies import bands_of_fields, copies, leaks, sky_neighbours
from astroclf.data.split.field_bands import find_fields
from astroclf.data.split.links import Links, Pairs
from tests.audit.planted import bare_cache, catalog


def test_all_copies_of_a_picture_are_one_case():
    cache = bare_cache(catalog([0, 0, 0, 1, 1]))
    links = Links(
        exact=Pairs(np.array([[0, 2], [0, 3]]), np.ones(2)),
        near=Pairs(np.array([[1, 4]]), np.array([0.9])),
    )
    exact, near = copies(cache, links)
    assert [case.rows for case in exact.cases] == [(0, 2, 3)]
    assert [case.rows for case in near.cases] == [(1, 4)]
    assert (exact.conflicts, near.conflicts) == (1, 1)


def test_a_leak_is_a_link_between_two_splits():
    of = catalog([0] * 7, group=np.array(["", "", "", "", "night 1", "night 1", ""]))
    links = Links(
        exact=Pairs(np.array([[0, 1]]), np.ones(1)),
        near=Pairs(np.array([[1, 2], [2, 3]]), np.array([0.9, 0.9])),
        sky=Pairs(np.array([[3, 6], [0, 6]]), np.array([5.0, 6.0])),
    )
    splits = np.array(["train", "train", "test", "test", "train", "val", ""], dtype=object)
    (leak,) = leaks(bare_cache(of), links, splits)  # a row in no split leaks nowhere
    assert leak.severity == "error"
    assert [case.rows for case in leak.cases] == [(1, 2), (4, 5)]
    assert leak.cases[0].text == "train and test: near duplicates"
    assert leak.cases[1].values == {"splits": ["train", "val"]}
    splits[6] = "val"
    sky = leaks(bare_cache(of), links, splits)[1]
    assert (sky.kind, sky.severity) == ("sky leak", "warning")
    assert [case.rows for case in sky.cases] == [(3, 6), (0, 6)]


def test_neighbours_contradict_only_where_they_are_one_object():
    cache = bare_cache(catalog([0, 1, 0, 1]))
    apart = Pairs(np.array([[0, 1], [2, 3]]), np.array([20.0, 12.5]))
    (calm,) = sky_neighbours(cache, apart, kept_together=True)
    assert calm.severity == "note"
    assert [case.values["separation_arcsec"] for case in calm.cases] == [12.5, 20.0]
    assert calm.conflicts == 0
    assert sky_neighbours(cache, apart, kept_together=False)[0].severity == "warning"
    (same,) = sky_neighbours(cache, Pairs(np.array([[0, 1]]), np.array([0.2])), kept_together=True)
    assert (same.severity, same.conflicts) == ("warning", 1)


def test_bands_of_a_field_are_one_case_with_the_setting_that_joins_them():
    of = catalog([0, 0, 1], classes=("galaxy", "star"))
    of = replace(of, ids=np.array(["galaxy/m51_g.fits", "galaxy/m51_r.fits", "star/vega.fits"]))
    (found,) = bands_of_fields(bare_cache(of), find_fields(of))
    assert [case.rows for case in found.cases] == [(1, 0)]
    assert "\"dataset.fits.files=['{id}_r.fits','{id}_g.fits']\" dataset.channels=2" in found.advice
    torn = Links(bands=Pairs(np.array([[0, 1]]), np.ones(1)))
    (leak,) = leaks(bare_cache(of), torn, np.array(["train", "test", "val"], dtype=object))
    assert leak.cases[0].text == "train and test: bands of one field"
