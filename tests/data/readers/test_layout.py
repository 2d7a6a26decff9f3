"""Class folders, and split folders above them."""

from __future__ import annotations

import logging
import os

import pytest

from astroclf.errors import DataError
from tests.data.readers.folders import labels_of, numbered, put, reader, reasons_of


@pytest.mark.parametrize(
    ("folders", "splits"),
    [
        (("train", "val", "test"), {"train", "val", "test"}),
        (("train", "valid"), {"train", "val"}),
        (("Train", "Validation", "TEST"), {"train", "val", "test"}),
        (("train",), {"train"}),
    ],
)
def test_split_folders_hold_the_classes_and_give_the_splits(tmp_path, caplog, folders, splits):
    caplog.set_level(logging.INFO)
    put(tmp_path, *numbered(*(f"{split}/{name}" for split in folders for name in ("disc", "bar"))), "train/notes.txt")
    catalog = reader(tmp_path).catalog
    assert catalog.classes == ("bar", "disc")
    assert len(catalog) == 4 * len(folders)
    assert set(catalog.split) == splits
    assert all(split[:2] == name[:2].lower() for split, name in zip(catalog.split, catalog.ids, strict=True))
    assert "are the splits; the classes are the folders in them" in caplog.text


def test_images_beside_the_classes_of_a_split_are_told(tmp_path, caplog):
    put(tmp_path, *numbered("train/disc", "train/bar"), *numbered("test", each=5), "stray.png")
    found = reader(tmp_path)
    assert set(labels_of(found).values()) == {"disc", "bar"}
    assert list(reasons_of(found).values()) == ["beside the class folders"] * 6
    assert "6 images beside the class folders, not read: stray.png, test/0.png, test/1.png and 3 more" in caplog.text


def test_classes_that_are_called_train_and_test_are_to_be_named(tmp_path):
    put(tmp_path, *numbered("train", "test"))
    with pytest.raises(DataError, match=r"test/, train/ may be splits.*dataset\.classes=\[test,train\]"):
        reader(tmp_path)
    assert reader(tmp_path, ["train", "test"]).catalog.classes == ("train", "test")
    put(tmp_path, *numbered("train/steam", "test/tube"))
    assert len(reader(tmp_path, ["train", "test"]).catalog) == 8


def test_a_class_called_test_beside_others_is_a_class_and_said(tmp_path, caplog):
    put(tmp_path, *numbered("star", "galaxy", "test"))
    assert reader(tmp_path).catalog.classes == ("galaxy", "star", "test")
    assert "test/ is taken for a class like the other folders" in caplog.text


def test_a_folder_beside_splits_is_neither_a_class_nor_passed_over(tmp_path):
    put(tmp_path, *numbered("train/disc", "val/disc", "unlabeled"))
    with pytest.raises(DataError, match=r"train/, val/ may be splits.*but unlabeled/ beside them would be none"):
        reader(tmp_path)
    assert len(reader(tmp_path, ["train", "val", "unlabeled"]).catalog) == 6


def test_a_class_folder_of_which_nothing_is_read_is_refused(tmp_path):
    put(tmp_path, *numbered("disc", "bar"), *numbered("spiral", each=3, suffix=".xyz"), "spiral/a.txt")
    (tmp_path / "ring").mkdir()
    with pytest.raises(DataError, match=r"ring/ \(holds nothing\), spiral/ \(holds 3 \.xyz, 1 \.txt\)") as error:
        reader(tmp_path)
    assert "dataset.exclude_classes=[ring,spiral]" in str(error.value)
    found = reader(tmp_path, exclude_classes=["ring", "spiral"])
    assert found.catalog.classes == ("bar", "disc")
    assert set(reasons_of(found).values()) == {"of no image format"}
    with pytest.raises(DataError, match=r"no images of the class ring.*ring/ holds nothing"):
        reader(tmp_path, ["disc", "ring"], exclude_classes=["bar"])


def test_a_class_folder_that_is_a_link_to_another_is_not_lost(tmp_path):
    put(tmp_path, *numbered("disc", "bar"))
    (tmp_path / "ring").symlink_to(tmp_path / "bar")
    with pytest.raises(DataError, match=r"class folder ring/ \(holds only a link, linked a second time\)"):
        reader(tmp_path)


def test_a_folder_that_may_not_be_opened_is_told(tmp_path, caplog, monkeypatch):
    put(tmp_path, *numbered("disc", "disc/night", "bar"))
    scandir = os.scandir

    def guarded(path):
        if str(path).endswith(closed):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    closed = "night"
    found = reader(tmp_path)
    assert reasons_of(found) == {"disc/night/": "in a folder that may not be opened"}
    assert "may not be opened, and nothing in it is read: disc/night/." in caplog.text
    closed = "bar"
    with pytest.raises(DataError, match=r"bar/ \(holds what may not be seen\)"):
        reader(tmp_path)


def test_strays_and_links_of_a_folder(tmp_path, caplog):
    root, store = tmp_path / "root", tmp_path / "store"
    put(store, *numbered("night1", "night2"))
    put(root, *numbered("disc", "cross"), *(f"stray{number}.png" for number in range(8)), "README.md")
    (root / "bar").mkdir()
    for night in ("night1", "night2"):
        (root / "bar" / night).symlink_to(store / night)
    found = reader(root)
    assert found.catalog.class_counts().tolist() == [4, 2, 2]
    assert "8 images beside the class folders, not read: stray0.png, stray1.png, stray2.png and 5 more." in caplog.text


def test_a_flat_folder_of_images_is_answered_with_what_to_do(tmp_path):
    put(tmp_path, *(f"{number}.png" for number in range(8)))
    with pytest.raises(DataError) as error:
        reader(tmp_path)
    told = str(error.value)
    assert "holds 8 images (0.png, 1.png, 2.png and 5 more) and nothing that says their classes" in told
    assert "one subfolder a class" in told
    assert "metadata.csv, with the columns path and label" in told


def test_folders_that_look_alike_are_two_classes_and_said(tmp_path, caplog):
    put(tmp_path, *numbered("black hole", "Black_Hole", "S0", "S0-", "SB"))
    assert len(reader(tmp_path).catalog.classes) == 5
    (record,) = caplog.records
    assert "`Black_Hole` and `black hole` are different classes here" in record.getMessage()
    caplog.clear()
    reader(tmp_path, ["black hole", "Black_Hole", "S0", "S0-", "SB"])
    assert not caplog.records


def test_what_a_typed_name_stands_for_is_said(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    put(tmp_path, *numbered("Black Hole", "star"))
    assert reader(tmp_path, ["black_hole", "star"]).catalog.classes == ("black_hole", "star")
    assert "The class `black_hole` of dataset.classes is `Black Hole` in the data set." in caplog.text
    assert "`star`" not in caplog.text


def test_excluded_classes_are_accounted_for(tmp_path):
    put(tmp_path, *numbered("star", "galaxy"))
    found = reader(tmp_path, exclude_classes=["Star"])
    assert reasons_of(found) == {"star/0.png": "of an excluded class", "star/1.png": "of an excluded class"}
