"""People's own arrays in a folder, an npz and an HDF5 file; and those that cannot be meant."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from astroclf.data.readers.arrays import Arrays
from astroclf.data.readers.editions import choose_reader
from astroclf.errors import ConfigError, DataError
from tests.data.decode.pictures import reading
from tests.data.readers.test_galaxy10 import write_h5

ROWS = 12
IMAGES = np.random.default_rng(0).integers(0, 256, (ROWS, 16, 16, 3), dtype=np.uint8)
LABELS = np.arange(ROWS) % 3


def as_folder(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    place.mkdir()
    for name, values in arrays.items():
        np.save(place / f"{name}.npy", values)
    return place


def as_npz(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    np.savez_compressed(place.with_suffix(".npz"), **arrays)
    return place.with_suffix(".npz")


def as_hdf5(place: Path, arrays: dict[str, np.ndarray]) -> Path:
    with h5py.File(place.with_suffix(".h5"), "w") as file:
        for name, values in arrays.items():
            file[name] = values.tolist() if values.dtype.kind == "U" else values
    return place.with_suffix(".h5")


EVERY_FORM = pytest.mark.parametrize("write", [as_folder, as_npz, as_hdf5])
Writer = Callable[[Path, dict[str, np.ndarray]], Path]


def read_all(reader: Arrays) -> np.ndarray:
    reader.decide_tones(1)
    blocks = [reader.read(rows) for rows in reader.blocks()]
    assert not any(block.faults for block in blocks)
    return np.concatenate([block.images_BHWC for block in blocks])


def own(tmp_path: Path, **arrays: np.ndarray) -> Path:
    return as_folder(tmp_path / "own", {"images": IMAGES, "labels": LABELS} | arrays)


# ---- what is read --------------------------------------------------------------------------------------------------


@EVERY_FORM
def test_three_classes_of_ones_own_keep_their_own_names(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path / "own", {"images": IMAGES, "labels": LABELS})
    reader = Arrays(path, 16)
    assert reader.catalog.classes == ("0", "1", "2")
    np.testing.assert_array_equal(reader.catalog.labels, LABELS)
    np.testing.assert_array_equal(read_all(reader), IMAGES)
    assert Arrays(path, 16, class_names=["E", "S", "Irr"]).catalog.classes == ("E", "S", "Irr")
    assert choose_reader(path) == "arrays"
    assert reader.left_out == []


@EVERY_FORM
def test_labels_that_are_texts_are_the_classes_in_their_order(tmp_path: Path, write: Writer) -> None:
    texts = np.array(["spirale étoilée", "E", "-5"])[LABELS]
    arrays = {"images": IMAGES, "labels": texts, "classes": np.array(["spirale étoilée", "-5", "E"])}
    reader = Arrays(write(tmp_path / "named", arrays), 16)
    assert reader.catalog.classes == ("spirale étoilée", "-5", "E")
    assert [reader.catalog.classes[label] for label in reader.catalog.labels] == texts.tolist()
    del arrays["classes"]
    assert Arrays(write(tmp_path / "plain", arrays), 16).catalog.classes == ("-5", "E", "spirale étoilée")


def test_names_may_lie_in_a_text_file(tmp_path: Path) -> None:
    path = own(tmp_path)
    (path / "classes.txt").write_text("smooth\nbarred\n\nedge-on\n", encoding="utf-8")
    assert Arrays(path, 16).catalog.classes == ("smooth", "barred", "edge-on")
    assert Arrays(path, 16, classes=["edge-on", "smooth"]).catalog.class_counts().tolist() == [4, 4]


@pytest.mark.parametrize("text", ["", "NaN", "n/a", "--", "NaT"])
def test_what_stands_for_no_label_in_a_table_does_so_in_an_array(tmp_path: Path, text: str) -> None:
    path = own(tmp_path, labels=np.array([text, "arc", "ring"])[LABELS])
    assert Arrays(path, 16, on_unlabelled="skip").catalog.class_counts().tolist() == [4, 4]


def test_a_class_may_be_called_none_where_it_is_named(tmp_path: Path) -> None:
    path = own(tmp_path, labels=np.array(["none", "arc", "ring"])[LABELS])
    with pytest.raises(DataError, match="no label in row 0"):
        Arrays(path, 16)
    assert Arrays(path, 16, class_names=["arc", "none", "ring"]).catalog.class_counts().tolist() == [4, 4, 4]


def test_numbers_are_classes_in_the_order_of_their_size(tmp_path: Path) -> None:
    stages = np.array([10, -5, 2])[LABELS].astype(np.float32)
    assert Arrays(own(tmp_path, labels=stages), 16).catalog.classes == ("-5", "2", "10")


def test_columns_beside_the_images_are_read(tmp_path: Path) -> None:
    split = np.array(["train", "val", "test", ""] * 3)
    path = own(tmp_path, ra=np.linspace(0, 300, ROWS), dec=np.zeros(ROWS), split=split, group=np.arange(ROWS) // 2)
    catalog = Arrays(path, 16).catalog
    np.testing.assert_array_equal(catalog.ra_deg, np.linspace(0, 300, ROWS))
    assert catalog.split is not None
    assert catalog.group is not None
    assert catalog.split.tolist() == split.tolist()
    assert catalog.group.tolist()[:3] == ["0", "0", "1"]


@EVERY_FORM
def test_numbers_that_are_not_8_bit_get_one_tone_for_all(tmp_path: Path, write: Writer) -> None:
    """A float image with a pixel at 1.02 looks like its neighbours."""
    grey = np.linspace(0.1, 0.9, 256, dtype=np.float32).reshape(1, 16, 16).repeat(ROWS, axis=0)
    grey[5, 0, 0] = 1.02
    reader = Arrays(write(tmp_path / "floats", {"images": grey, "labels": LABELS}), 16, channels=1)
    images = read_all(reader)
    np.testing.assert_array_equal(images[5, 1:], images[4, 1:])
    assert np.abs(images[4, ..., 0].astype(float) - 255 * grey[4]).max() <= 0.5


def test_a_cut_out_is_taken_of_each_image_and_an_angle_needs_the_scale(tmp_path: Path) -> None:
    place = own(tmp_path)
    np.testing.assert_array_equal(read_all(Arrays(place, 8, reading=reading(crop=8))), IMAGES[:, 4:12, 4:12])
    np.testing.assert_array_equal(
        read_all(Arrays(place, 8, reading=reading(crop="4arcsec", pixel_scale=0.5))), IMAGES[:, 4:12, 4:12]
    )
    deep = Arrays(
        as_npz(tmp_path / "deep", {"images": IMAGES.astype(np.uint16), "labels": LABELS}),
        8,
        reading=reading(crop="4arcsec"),
    )
    assert deep.decide_tones(1) == {}
    assert {fault.kind for fault in deep.read(range(3)).faults.values()} == {"no pixel scale"}


def test_bands_before_rows_are_a_guess_that_is_said_once(tmp_path: Path) -> None:
    reader = Arrays(own(tmp_path, images=np.moveaxis(IMAGES, 3, 1)), 16)
    np.testing.assert_array_equal(read_all(reader), IMAGES)
    notes = reader.read(range(ROWS)).notes
    assert list(notes) == [0]
    assert "(12, 3, 16, 16) is taken as 3 bands of 16 x 16 pixels" in notes[0][0].message


def test_planes_choose_bands_and_others_are_refused(tmp_path: Path) -> None:
    path = own(tmp_path, images=np.concatenate([IMAGES, IMAGES[..., :2]], axis=3))
    with pytest.raises(DataError, match=r"5 bands, but dataset\.channels=3\. Set dataset\.channels=5"):
        Arrays(path, 16)
    np.testing.assert_array_equal(read_all(Arrays(path, 16, reading=reading(planes=[2, 1, 0]))), IMAGES[..., ::-1])
    assert read_all(Arrays(path, 16, channels=5)).shape == (ROWS, 16, 16, 5)
    np.testing.assert_array_equal(
        read_all(Arrays(path, 16, channels=1, reading=reading(collapse="max")))[..., 0],
        np.load(path / "images.npy").max(axis=3),
    )
    with pytest.raises(DataError, match="there is no plane 5"):
        Arrays(path, 16, reading=reading(planes=[5]))


def test_what_else_lies_in_the_folder_is_accounted_for(tmp_path: Path) -> None:
    path = own(tmp_path, redshift=np.ones(ROWS), classes=np.array(["a", "b", "c"]))
    (path / "notes.txt").touch()
    (path / "pictures").mkdir()
    assert [item.name for item in Arrays(path, 16).left_out] == ["notes.txt", "pictures/", "redshift.npy"]
    npz = as_npz(tmp_path / "a", {"images": IMAGES, "labels": LABELS, "redshift": np.ones(ROWS)})
    assert [item.name for item in Arrays(npz, 16).left_out] == ["redshift"]


def test_rows_without_a_label_stop_the_run_or_are_left_out_and_counted(tmp_path: Path) -> None:
    labels = np.where(np.arange(ROWS) == 4, np.nan, LABELS)
    path = own(tmp_path, labels=labels, weights=np.ones(ROWS))
    with pytest.raises(DataError, match=r"no label in row 4 \(1 such rows\).*dataset\.on_unlabelled=skip"):
        Arrays(path, 16)
    reader = Arrays(path, 16, exclude_classes=["2"], on_unlabelled="skip")
    assert len(reader.catalog) == 7
    reasons = [item.reason for item in reader.left_out]
    assert (reasons.count("without a label"), reasons.count("of an excluded class")) == (1, 4)
    assert ("weights.npy", "beside images and labels") in reader.left_out
    np.testing.assert_array_equal(read_all(reader), IMAGES[np.isin(labels, [0, 1])])


# ---- what is refused -----------------------------------------------------------------------------------------------


REFUSED = [
    ({"labels": LABELS[:-1]}, r"12 images, but `labels\.npy` 11 rows"),
    ({"labels": np.eye(3)[LABELS]}, r"labels\.argmax\(axis=1\)"),
    ({"labels": LABELS + 0.5}, r"0\.5 in row 0: labels are whole numbers"),
    ({"labels": LABELS + 1, "classes": np.array(["a", "b", "c"])}, r"is 3 in row 2 .*count from 1: .* less 1"),
    ({"labels": np.array(["a", "b", "z"])[LABELS], "classes": np.array(["a", "b"])}, "label `z`"),
    ({"images": IMAGES[0]}, r"16 images, but `labels\.npy` 12 rows"),
    ({"images": IMAGES.astype(complex)}, r"complex128 of shape \(12, 16, 16, 3\); it must be numbers"),
    ({"split": np.array(["tset"] * ROWS)}, "`tset` in row 0"),
    ({"ra": np.full(ROWS, 400.0), "dec": np.zeros(ROWS)}, r"`ra\.npy` is 400\.0 in row 0"),
]


@pytest.mark.parametrize(("arrays", "message"), REFUSED)
def test_arrays_that_contradict_themselves_are_refused(tmp_path, arrays, message):
    with pytest.raises(DataError, match=message):
        Arrays(own(tmp_path, **arrays), 16)


def test_python_objects_are_refused_without_unpickling_them(tmp_path):
    path = own(tmp_path)
    np.save(path / "labels.npy", np.array([{"a": 1}] * ROWS, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="Python objects"):
        Arrays(path, 16)
    np.savez(tmp_path / "o.npz", images=IMAGES, labels=np.array([None] * ROWS, dtype=object))
    with pytest.raises(DataError, match=r"object|Python"):
        Arrays(tmp_path / "o.npz", 16)


def test_an_archive_under_the_name_of_an_array_is_one_paragraph(tmp_path):
    path = own(tmp_path)
    np.savez(tmp_path / "a.npz", IMAGES)
    (tmp_path / "a.npz").replace(path / "images.npy")
    with pytest.raises(DataError, match=r"images\.npy is an archive of numpy\.savez \(arr_0\)") as caught:
        Arrays(path, 16)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off"])
def test_what_is_no_archive_says_what_it_is(tmp_path, content):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz is not an \.npz archive: it is (empty|an HTML|damaged)"):
        Arrays(tmp_path / "a.npz", 16)


def test_a_place_without_arrays_says_what_belongs_there(tmp_path):
    for path, message in (
        (None, "dataset.path is not set"),
        (tmp_path / "no", "no such file"),
        (tmp_path, "has no `images.npy`, but no array"),
    ):
        with pytest.raises(DataError, match=message):
            Arrays(path, 16)
    with pytest.raises(ConfigError, match="twice"):
        Arrays(own(tmp_path), 16, class_names=["a", "a", "b"])


# ---- which reader a path means -------------------------------------------------------------------------------------


def test_a_path_alone_chooses_the_reader_that_knows_it(tmp_path):
    write_h5(tmp_path / "official.h5", pxscale=np.full(30, 0.262))
    write_h5(tmp_path / "older.h5", side=69, ra=None, dec=None, redshift=None)
    with h5py.File(tmp_path / "mine.h5", "w") as file:
        file["images"], file["ans"] = IMAGES, LABELS
    (tmp_path / "Galaxy10_DECals.h5").touch()
    (tmp_path / "broken.h5").touch()
    names = ("official.h5", "older.h5", "mine.h5", "Galaxy10_DECals.h5", "broken.h5")
    chosen = [choose_reader(tmp_path / name) for name in names]
    assert chosen == ["galaxy10", "galaxy10_sdss", "arrays", "galaxy10", "arrays"]
    assert choose_reader(own(tmp_path, labels=np.arange(ROWS) % 10)) == "arrays"


def test_arrays_without_labels_are_one_class_where_none_are_required(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.arange(5 * 8 * 8, dtype=np.uint8).reshape(5, 8, 8))
    with pytest.raises(DataError, match=r"has no `labels\.npy`"):
        Arrays(tmp_path, 8, channels=1)
    reader = Arrays(tmp_path, 8, channels=1, labels="auto")
    assert reader.catalog.classes == ("unlabelled",)
    assert len(read_all(reader)) == 5
    np.save(tmp_path / "labels.npy", np.array([0, 1, 0, 1, 1]))
    assert len(Arrays(tmp_path, 8, channels=1, labels="auto").catalog.classes) == 2
    assert Arrays(tmp_path, 8, channels=1, labels="none").catalog.classes == ("unlabelled",)
