"""Everything in a folder is listed once or passed over with a reason, whatever links lead where."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from astroclf.data.readers.find_table import AUTO
from astroclf.data.readers.samples import list_samples
from astroclf.data.readers.tables import TableRules
from astroclf.data.readers.walk import image_suffix, walk
from astroclf.errors import DataError
from tests.data.readers.folders import put


def reasons(root: Path) -> dict[str, str]:
    return {item.name: item.reason for item in walk(root).left_out}


def test_hidden_and_system_files_are_passed_over_at_every_depth(tmp_path):
    seen = ["a/1.png", "a/b/2.png"]
    system = ["@eaDir", "$RECYCLE.BIN", ".Trash-1000", "lost+found", "System Volume Information", "__MACOSX", ".git"]
    put(tmp_path, *seen, *(f"{name}/x.png" for name in system), *(f"a/b/{name}/x.png" for name in system))
    put(tmp_path, ".DS_Store", "a/Thumbs.db", "a/._1.png")
    tree = walk(tmp_path)
    assert tree.files == seen
    assert {item.reason for item in tree.left_out} == {"hidden or of the system"}
    assert {f"{name}/" for name in system} | {"a/b/@eaDir/", "a/._1.png", "a/Thumbs.db"} <= {
        item.name for item in tree.left_out
    }


def test_links_are_followed_and_each_file_is_there_once(tmp_path):
    root, store = tmp_path / "root", tmp_path / "store"
    put(root, "disc/1.png", "z/real.png")
    put(store, "night/2.png", "night/deep/3.png", "4.png")
    (root / "bar").symlink_to(store / "night")  # out of the folder
    (root / "disc/again").symlink_to(root / "z")  # really in another class
    (root / "disc/4.png").symlink_to(store / "4.png")
    (root / "disc/5.png").symlink_to(store / "4.png")
    (root / "disc/up").symlink_to(root)
    (root / "disc/self").symlink_to(root / "disc/self")
    (store / "night/deep/back").symlink_to(store)
    (root / "disc/gone.png").symlink_to(store / "gone.png")
    (root / "disc/gone").symlink_to(store / "gone")
    tree = walk(root)
    assert tree.files == ["bar/2.png", "bar/deep/3.png", "disc/1.png", "disc/4.png", "disc/gone.png", "z/real.png"]
    assert reasons(root) == {
        "disc/again": "linked a second time",
        "disc/5.png": "linked a second time",
        "disc/up": "in a loop of links",
        "disc/self": "linked to nothing",
        "disc/gone": "linked to nothing",
        "bar/deep/back": "in a loop of links",
    }


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.d/b.JPG", ".JPG"), ("x.fits.gz", ".fits.gz"), ("x.fits.fz", ".fits.fz"), ("J12.5+06.png", ".png"),
     ("x.png.gz", ""), ("x.jpg.fits", ".fits"), ("587722.984", ""), (".png", ""), ("x.png/y", "")],
)  # fmt: skip
def test_the_suffix_by_which_a_file_is_an_image(name, suffix):
    assert image_suffix(name) == suffix


def test_a_pipe_is_no_picture_to_wait_for(tmp_path):
    put(tmp_path, "a/1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    assert walk(tmp_path).files == ["a/1.png"]
    assert reasons(tmp_path) == {"a/2.png": "a pipe, socket or device"}


FOLDERS = st.sampled_from(
    ["", "train/", "val/", "test/", "star/", "Star/", "train/star/", "train/ring/", "test/ring/", "val/star/deep/",
     "ring/1/2/", ".hid/", "star/@eaDir/", "é/", "docs/"]
)  # fmt: skip
FILES = st.sampled_from(["1.png", "2.JPG", "3.fits", "a.txt", "b", ".c", "t.csv", "Thumbs.db", "4.npy", "e\u0301.png"])


@given(st.lists(st.tuples(FOLDERS, FILES), min_size=1, max_size=12), st.booleans())
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
def test_whatever_lies_in_a_folder_is_read_or_left_out(files, with_table):
    """Of each tree either the class folders are read, or it is refused; no file is forgotten or counted twice."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        names = {place + name for place, name in files}
        for name in names:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        if with_table:
            rows = sorted(name for name in names if name.endswith(".png"))[::2]
            (root / "metadata.csv").write_text(
                "".join(f"{row},x\n" for row in ["path", *rows]).replace("path,x", "path,label")
            )
        try:
            listing = list_samples(root, AUTO, TableRules())
        except DataError:
            return
    read, rest = set(listing.ids), {item.name for item in listing.left_out}
    assert len(listing.ids) == len(read)
    assert len(listing.left_out) == len(rest)
    assert not read & rest
    closed = tuple(name for name in rest if name.endswith("/"))
    told = {name for name in names if name in rest or name in read or name.startswith(closed)}
    assert told == names
    assert read <= names
