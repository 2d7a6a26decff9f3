"""What a reader said becomes findings: guesses in reading, and files that are no samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from astroclf.audit.notes import by_reason, noted_images, unread_files
from astroclf.data.cache.image_cache import Noted
from astroclf.data.catalog import LeftOut
from tests.audit.planted import bare_cache, catalog


def test_guesses_are_warnings_with_their_picture_and_what_a_file_says_itself_is_a_note():
    cache = bare_cache(catalog([0, 1, 1]), np.zeros((3, 64, 64), np.uint8))
    cache = replace(
        cache,
        noted=(
            Noted("2.png", "guessed axes", "2.png: the last axis is taken for colors."),
            Noted("0.png", "guessed axes", "0.png: the last axis is taken for colors."),
            Noted("1.png", "Stokes", "1.png: of 4 Stokes parameters, I is taken."),
            Noted("1.png", "something new", "1.png: it shines."),
            Noted("away.png", "guessed axes", "away.png: no sample any more."),
        ),
    )
    found = {each.kind: each for each in noted_images(cache)}
    assert {kind: each.severity for kind, each in found.items()} == {
        "guessed axes": "warning",
        "Stokes": "note",
        "something new": "warning",
    }
    assert [case.rows for case in found["guessed axes"].cases] == [(2,), (0,)]
    assert [case.labels for case in found["guessed axes"].cases] == [("star",), ("galaxy",)]
    assert found["something new"].title == "Something new"


def test_what_may_be_taken_for_a_sample_is_a_warning_and_what_nobody_would_is_a_note():
    left_out = [
        *(LeftOut(f"stray{number}.png", "beside the class folders") for number in range(5)),
        LeftOut("notes.txt", "of no image format"),
        LeftOut("extra.csv", "a table that is not read"),
    ]
    warned, noted = unread_files(left_out)
    assert (warned.kind, warned.severity, noted.severity) == ("not read", "warning", "note")
    assert warned.cases[0].text == "5 beside the class folders: stray0.png, stray1.png, stray2.png and 2 more"
    assert [case.values["reason"] for case in warned.cases] == ["beside the class folders", "a table that is not read"]
    assert [case.values["files"] for case in noted.cases] == [1]
    assert by_reason(left_out)["a table that is not read"] == ["extra.csv"]
    assert unread_files([]) == []
