"""One sentence accounts for all that lies in a folder."""

from __future__ import annotations

from astroclf.data.readers.accounts import account
from tests.data.readers.folders import numbered, put, reader


def test_what_is_left_out_is_counted_by_reason(tmp_path):
    put(tmp_path, *numbered("disc", "bar"), "disc/a.txt", "b.txt", "bar/c.md", "d.png", ".DS_Store", "x/y/old.csv")
    found = reader(tmp_path, exclude_classes=["x"])
    assert account(found, 3, ["disc/0.png"]) == (
        "3 images read; left out: 3 of no image format (.txt, .md), 1 without a usable image, 1 beside the class "
        "folders, 1 a table that is not read (x/y/old.csv), 1 hidden or of the system."
    )


def test_nothing_left_out_is_said_too(tmp_path):
    put(tmp_path, *numbered("disc", each=1))
    assert account(reader(tmp_path), 1) == "1 image read, nothing left out."


def test_no_name_keeps_the_account_from_being_printed(tmp_path):
    put(tmp_path, *numbered("disc"))
    (tmp_path / "disc" / b"n\xff.txt".decode(errors="surrogateescape")).touch()
    found = reader(tmp_path)
    assert [item.name for item in found.left_out] == ["disc/n\\udcff.txt"]
    account(found, 2).encode()
