"""Every fault that is planted is found under its kind, and nothing else is named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astroclf.audit.copies import copies, leaks, sky_neighbours
from astroclf.audit.findings import Case, Finding, exit_status, finding, gathered
from astroclf.audit.samples import (
    balance,
    blank_pictures,
    class_findings,
    given_away,
    small_images,
    unreadable_files,
)
from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.catalog import Catalog
from astroclf.data.decode.headers import FileFacts, read_facts
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.split.copies import Pairs
from astroclf.data.split.groups import Links, find_links
from tests.audit.planted import SIDE, plant_faults, save, write_clean

JPEG = FileFacts("JPEG", "RGB", 8, 200, 100)
PNG = FileFacts("PNG", "L", 8, 64, 64)


def opened(folder: Path, cache_dir: Path) -> tuple[ClassFolder, ImageCache]:
    reader = ClassFolder(folder, "found", SIDE)
    return reader, open_image_cache(reader, cache_dir, on_error="skip", num_workers=1, progress=False)


def looked_at(reader: ClassFolder, cache: ImageCache) -> list[Finding]:
    links = find_links(cache, near=True, sky_arcsec=None)
    facts = dict(zip(reader.catalog.ids, read_facts(reader, num_workers=1, progress=False), strict=True))
    return gathered(
        [
            *unreadable_files(cache.skipped, reader.catalog, "error"),
            *blank_pictures(cache),
            *copies(cache, links),
            *given_away([facts[name] for name in cache.catalog.ids], cache.catalog),
        ]
    )


def catalog(labels: list[int], classes: tuple[str, ...] = ("galaxy", "star"), **columns) -> Catalog:
    return Catalog(
        ids=np.array([f"{row}.png" for row in range(len(labels))]), labels=np.array(labels), classes=classes, **columns
    )


def bare_cache(of: Catalog, thumbnails: np.ndarray | None = None) -> ImageCache:
    """An image cache of nothing but its catalog, and thumbnails as its images where given."""
    thumbnails = np.zeros((len(of), 64, 64), np.uint8) if thumbnails is None else thumbnails
    return ImageCache(thumbnails[..., None], thumbnails, of, np.array([""] * len(of)), "", Path(), ())


def test_a_clean_data_set_gives_no_finding(tmp_path):
    assert looked_at(*opened(write_clean(tmp_path / "sky"), tmp_path)) == []


def test_each_planted_fault_is_found_under_its_kind_and_nothing_else_is_named(tmp_path):
    folder = write_clean(tmp_path / "sky")
    planted = plant_faults(folder)
    found = {
        found.kind: {frozenset(case.ids) for case in found.cases} for found in looked_at(*opened(folder, tmp_path))
    }
    assert found == planted


def test_cases_say_where_labels_contradict_and_where_their_pictures_are(tmp_path):
    folder = write_clean(tmp_path / "sky")
    plant_faults(folder)
    reader, cache = opened(folder, tmp_path)
    cases = {found.kind: found.cases[0] for found in looked_at(reader, cache)}
    assert cases["exact duplicates"].conflict
    assert set(cases["exact duplicates"].labels) == {"galaxy", "star"}
    assert not cases["near duplicates"].conflict
    assert cases["near duplicates"].values["similarity"] > 0.8
    for case in cases.values():
        assert [cache.catalog.ids[row] for row in case.rows] == list(case.ids if case.rows else ())
    assert cases["truncated"].labels == ("galaxy",)
    assert cases["truncated"].rows == ()
    assert "truncated.jpg" in cases["truncated"].text


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


# ---- pictures that show nothing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(64, 64), (64, 31), (30, 64)])
def test_a_faint_star_on_a_black_sky_is_a_picture(shape):
    rng = np.random.default_rng(0)
    sky = rng.integers(4, 9, shape).astype(np.uint8)
    with_star = sky.copy()
    with_star[10:12, 20:22] += 30
    padded = np.zeros((2, 64, 64), np.uint8)
    top, left = (64 - shape[0]) // 2, (64 - shape[1]) // 2
    padded[:, top : top + shape[0], left : left + shape[1]] = np.stack([sky, with_star])
    (found,) = blank_pictures(bare_cache(catalog([0, 0]), padded))
    assert found.kind == "near-blank"
    assert [case.rows for case in found.cases] == [(0,)]


def test_a_picture_of_one_color_is_constant_whatever_its_shape(tmp_path):
    for number, shape in enumerate([(40, 40), (40, 20), (20, 39), (64, 63)]):
        save(tmp_path / "sky" / "grey" / f"{number}.png", np.full((*shape, 3), 70, np.uint8))
    save(tmp_path / "sky" / "black" / "0.png", np.zeros((40, 40, 3), np.uint8))
    (found,) = blank_pictures(opened(tmp_path / "sky", tmp_path)[1])
    assert (found.kind, len(found.cases)) == ("constant", 5)


# ---- splits and sky ------------------------------------------------------------------------------------------------


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


# ---- classes -------------------------------------------------------------------------------------------------------


def test_missing_and_unknown_classes_are_named_with_the_nearest():
    found = catalog([0, 0, 1, 2], ("Galaxy", "nebulae", "flats"))
    missing, unknown = class_findings(["galaxy", "nebula", "star"], ["Flats"], found)
    assert [case.labels for case in missing.cases] == [("nebula",), ("star",)]
    assert [case.text for case in unknown.cases] == ["nebulae: 1 image; did you mean `nebula`?"]
    assert class_findings(["star"], [], catalog([0], ("Star",))) == []


def test_imbalance_and_few_test_images():
    many = catalog([0] * 1001 + [1] * 10, ("star", "galaxy", "nobody"))
    severe, few = balance(many, np.arange(20))
    assert severe.cases[0].labels == ("star", "galaxy")
    assert {case.labels[0]: case.values["images"] for case in few.cases} == {"galaxy": 0, "nobody": 0}
    assert balance(catalog([0] * 1000 + [1] * 10), None) == []


def test_files_that_give_their_class_away():
    labels = [0] * 10 + [1] * 10
    (found,) = given_away([JPEG] * 10 + [PNG] * 10, catalog(labels))
    assert found.cases[0].values == {"share": 1.0, "most_frequent": 0.5}
    assert [case.labels for case in found.cases[1:]] == [("galaxy",), ("star",)]
    assert given_away([JPEG, PNG] * 10, catalog(labels)) == []
    sizes = [FileFacts("JPEG", "RGB", 8, 200 + row, 100) for row in range(20)]
    assert given_away(sizes, catalog(labels)) == []  # a size of its own tells nothing


def test_images_far_smaller_than_asked_for():
    (found,) = small_images([JPEG, PNG, PNG, None], catalog([0, 1, 1, 0]), 224)
    assert [case.text for case in found.cases] == ["star: 2 of 2 images, 64 px, scaled to 224"]
    assert small_images([JPEG, PNG], catalog([0, 1]), 128) == []


# ---- findings ------------------------------------------------------------------------------------------------------


def test_findings_of_a_kind_are_one_and_the_gravest_decides():
    refused, seen = (Case(text, ids=(text,)) for text in ("refused", "seen"))
    together = gathered(
        finding("near duplicates", "warning", [seen])
        + finding("constant", "warning", [seen])
        + finding("constant", "error", [refused])
        + finding("empty", "error", [])
    )
    assert [(found.kind, found.severity) for found in together] == [
        ("constant", "error"),
        ("near duplicates", "warning"),
    ]
    assert together[0].cases == (refused, seen)
    (own,) = gathered(finding("no spectrum", "error", [refused]))  # of a reader that astroclf does not know
    assert own.title == "No spectrum"
    assert exit_status(together) == 2
    assert exit_status(together[1:]) == 1
    assert exit_status(finding("few tests", "note", [seen])) == 0
    assert exit_status([]) == 0
