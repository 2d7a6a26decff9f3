"""Every fault that is planted is found under its kind, and nothing else is named."""

from __future__ import annotations

from astroclf.audit.copies import copies
from astroclf.audit.files import blank_pictures, given_away, unreadable_files
from astroclf.audit.findings import Case, Finding, exit_status, finding, gathered
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.decode.headers import read_facts
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.split.links import find_links
from tests.audit.planted import opened, plant_faults, write_clean


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
