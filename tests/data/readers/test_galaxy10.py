"""The Galaxy10 reader on small files in the official layout, and on broken ones."""

from __future__ import annotations

import ast
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest

from astroclf.data.readers.editions import DECALS, DECALS_COUNTS, SDSS, recognise
from astroclf.data.readers.galaxy10 import Galaxy10, Galaxy10Sdss
from astroclf.errors import ConfigError, DataError

ROWS = 30


def write_h5(path: Path, rows: int = ROWS, side: int = 40, **replaced: np.ndarray | None) -> dict[str, np.ndarray]:
    """A file like the official one: class-blocked, chunked across rows, gzip. None leaves a data set out."""
    rng = np.random.default_rng(0)
    data = {
        "images": rng.integers(0, 256, (rows, side, side, 3), np.uint8),
        "ans": np.sort(np.arange(rows) % 10).astype(np.uint8),
        "ra": rng.uniform(0, 360, rows),
        "dec": rng.uniform(-30, 60, rows),
        "redshift": np.full(rows, np.nan),
    } | replaced
    with h5py.File(path, "w") as file:
        for name, values in data.items():
            if name == "images" and values is not None and values.ndim == 4:
                # 7 rows of 16 pixels: chunks that stick out at the end of every axis
                chunks = (min(7, len(values)), 16, 16, 1)
                file.create_dataset(name, data=values, chunks=chunks, compression="gzip")
            elif values is not None:
                file[name] = values
    return data


def read_all(reader: Galaxy10) -> np.ndarray:
    return np.concatenate([reader.read(rows).images_BHWC for rows in reader.blocks()])


def test_reads_pixels_labels_and_sky_positions(tmp_path):
    data = write_h5(tmp_path / "g.h5")
    reader = Galaxy10(tmp_path / "g.h5", image_size=40)
    assert reader.catalog.classes == DECALS.classes
    np.testing.assert_array_equal(reader.catalog.labels, data["ans"])
    np.testing.assert_array_equal(reader.catalog.ra_deg, data["ra"])
    np.testing.assert_array_equal(reader.catalog.dec_deg, data["dec"])
    np.testing.assert_array_equal(read_all(reader), data["images"])


def test_official_class_order():
    assert DECALS.classes[3] == "In-between Round Smooth"
    assert DECALS.classes[9] == "Edge-on with Bulge"
    assert len(DECALS.classes) == 10


@pytest.mark.parametrize("layout", [{}, {"compression": "lzf"}, {"compression": "gzip", "shuffle": True}])
def test_other_layouts_give_the_same_pixels(tmp_path, layout):
    data = write_h5(tmp_path / "g.h5")
    with h5py.File(tmp_path / "g.h5", "r+") as file:
        del file["images"]
        chunks = (7, 16, 16, 1) if layout else None
        file.create_dataset("images", data=data["images"], chunks=chunks, **layout)
    np.testing.assert_array_equal(read_all(Galaxy10(tmp_path / "g.h5", image_size=40)), data["images"])


def test_npy_pair_gives_the_same_as_hdf5(tmp_path):
    data = write_h5(tmp_path / "g.h5")
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "images.npy", data["images"])
    np.save(folder / "labels.npy", data["ans"])
    from_h5, from_npy = Galaxy10(tmp_path / "g.h5", image_size=20), Galaxy10(folder, image_size=20)
    np.testing.assert_array_equal(read_all(from_h5), read_all(from_npy))
    np.testing.assert_array_equal(from_h5.catalog.labels, from_npy.catalog.labels)
    np.testing.assert_array_equal(from_h5.catalog.ids, from_npy.catalog.ids)


def test_folder_that_holds_the_file(tmp_path):
    write_h5(tmp_path / "Galaxy10_DECals.h5")
    assert Galaxy10(tmp_path).path == tmp_path / "Galaxy10_DECals.h5"


def test_shrinks_by_area_average(tmp_path):
    data = write_h5(tmp_path / "g.h5")
    images = read_all(Galaxy10(tmp_path / "g.h5", image_size=20))
    np.testing.assert_array_equal(images[5], cv2.resize(data["images"][5], (20, 20), interpolation=cv2.INTER_AREA))


def test_other_aspect_is_padded(tmp_path):
    images = np.full((ROWS, 32, 16, 3), 200, np.uint8)
    images[:, 0, 0] = 199
    write_h5(tmp_path / "g.h5", images=images)
    image = read_all(Galaxy10(tmp_path / "g.h5", image_size=32))[0]
    assert (image[1:, 8:24] == 200).all()
    assert not image[:, :8].any()
    assert not image[:, 24:].any()


def test_an_image_of_one_color_is_a_fault_that_names_its_row(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (ROWS, 16, 16, 3), np.uint8)
    images[5] = (10, 20, 30)
    write_h5(tmp_path / "g.h5", images=images)
    reader = Galaxy10(tmp_path / "g.h5", image_size=16)
    faults = {row: fault for rows in reader.blocks() for row, fault in reader.read(rows).faults.items()}
    assert {row: fault.kind for row, fault in faults.items()} == {5: "constant"}
    assert "g.h5, row 5: the image is constant" in faults[5].message


def test_grey(tmp_path):
    write_h5(tmp_path / "g.h5")
    assert read_all(Galaxy10(tmp_path / "g.h5", image_size=16, channels=1)).shape == (ROWS, 16, 16, 1)
    with pytest.raises(ConfigError, match=r"dataset\.channels=5: Galaxy10's images have 3"):
        Galaxy10(tmp_path / "g.h5", channels=5)


def test_subset_of_classes_is_renumbered_and_keeps_its_pixels(tmp_path):
    data = write_h5(tmp_path / "g.h5")
    reader = Galaxy10(tmp_path / "g.h5", image_size=40, classes=["merging", "Barred_Spiral"])
    assert reader.catalog.classes == ("Merging", "Barred Spiral")
    wanted = np.flatnonzero(np.isin(data["ans"], [1, 5]))
    np.testing.assert_array_equal(reader.catalog.labels, np.where(data["ans"][wanted] == 1, 0, 1))
    np.testing.assert_array_equal(read_all(reader), data["images"][wanted])
    assert reader.catalog.ids[0] == f"row-{wanted[0]:06d}"


def test_excluded_classes_are_gone(tmp_path):
    write_h5(tmp_path / "g.h5")
    reader = Galaxy10(tmp_path / "g.h5", exclude_classes=["Disturbed", "Edge-on with Bulge"])
    assert reader.catalog.classes == DECALS.classes[1:9]
    assert (reader.catalog.class_counts() == 3).all()
    assert {item.reason for item in reader.left_out} == {"of an excluded class"}
    assert [item.name for item in reader.left_out[:3]] == ["row-000000", "row-000001", "row-000002"]


def test_unknown_class_names_the_nearest(tmp_path):
    write_h5(tmp_path / "g.h5")
    with pytest.raises(DataError, match="did you mean `Merging`"):
        Galaxy10(tmp_path / "g.h5", classes=["Mergin"])
    with pytest.raises(ConfigError, match="twice"):
        Galaxy10(tmp_path / "g.h5", classes=["Merging", "merging"])
    with pytest.raises(DataError, match="leaves no class"):
        Galaxy10(tmp_path / "g.h5", classes=["Merging"], exclude_classes=["Merging"])


def test_digests_do_not_depend_on_the_image_size(tmp_path):
    write_h5(tmp_path / "g.h5")
    small, large = (Galaxy10(tmp_path / "g.h5", image_size=size) for size in (16, 40))
    assert small.read(range(5)).digests == large.read(range(5)).digests
    assert small.fingerprint() != large.fingerprint()


def test_fingerprint_follows_content_and_classes_but_not_the_place(tmp_path):
    write_h5(tmp_path / "g.h5")
    before = Galaxy10(tmp_path / "g.h5").fingerprint()
    assert Galaxy10(tmp_path / "g.h5").fingerprint() == before
    (tmp_path / "moved").mkdir()
    (tmp_path / "g.h5").rename(tmp_path / "moved" / "g.h5")
    assert Galaxy10(tmp_path / "moved" / "g.h5").fingerprint() == before
    assert Galaxy10(tmp_path / "moved" / "g.h5", exclude_classes=["Merging"]).fingerprint() != before
    write_h5(tmp_path / "moved" / "g.h5", ans=np.zeros(ROWS, np.uint8))
    assert Galaxy10(tmp_path / "moved" / "g.h5").fingerprint() != before


def test_missing_file_says_where_to_get_it(tmp_path):
    for arguments in ({"path": None, "cache_dir": tmp_path}, {"path": tmp_path / "no.h5"}, {"path": tmp_path}):
        with pytest.raises(DataError) as caught:
            Galaxy10(**arguments)
        for part in ("Galaxy10_DECals.h5", "10845026", "dataset.path=", "dataset.download=true"):
            assert part in str(caught.value)


def test_downloaded_file_in_the_cache_is_found_without_a_path(tmp_path):
    write_h5(tmp_path / "Galaxy10_DECals.h5")
    assert len(Galaxy10(None, cache_dir=tmp_path).catalog) == ROWS


BROKEN = [
    ("has no `ans`; Galaxy10 is `images`", {"ans": None}),
    ("has no `images`", {"images": None}),
    ("30 images, but `ans` 29", {"ans": np.zeros(29, np.uint8)}),
    ("label 10 in row 4", {"ans": np.where(np.arange(ROWS) == 4, 10, 0)}),
    ("label -1", {"ans": np.full(ROWS, -1)}),
    ("must be integers", {"ans": np.zeros(ROWS)}),
    ("must be uint8", {"images": np.zeros((ROWS, 16, 16, 3), np.float32)}),
    ("must be uint8 of shape", {"images": np.zeros((ROWS, 8, 8), np.uint8)}),
    ("`ra` has shape", {"ra": np.zeros(3)}),
]


@pytest.mark.parametrize(("message", "replaced"), BROKEN)
def test_wrong_layout_is_named(tmp_path, message, replaced):
    write_h5(tmp_path / "g.h5", **replaced)
    with pytest.raises(DataError, match=message):
        Galaxy10(tmp_path / "g.h5")


@pytest.mark.parametrize(
    ("message", "content"),
    [("empty", b""), ("HTML page", b"<!DOCTYPE html><html>404</html>"), ("something else", b"PK\x03\x04 a zip")],
)
def test_not_hdf5_says_what_it_is(tmp_path, message, content):
    (tmp_path / "g.h5").write_bytes(content)
    with pytest.raises(DataError, match=message):
        Galaxy10(tmp_path / "g.h5")


def test_truncated_anywhere_is_a_data_error(tmp_path):
    write_h5(tmp_path / "whole.h5")
    whole = (tmp_path / "whole.h5").read_bytes()
    for length in range(9, len(whole) - 1, len(whole) // 12):
        (tmp_path / "cut.h5").write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"cut\.h5"):
            read_all(Galaxy10(tmp_path / "cut.h5"))


def test_damaged_chunk_is_a_data_error(tmp_path):
    write_h5(tmp_path / "g.h5")
    with h5py.File(tmp_path / "g.h5") as file:
        chunk = file["images"].id.get_chunk_info(40)
    content = bytearray((tmp_path / "g.h5").read_bytes())
    content[chunk.byte_offset : chunk.byte_offset + 40] = bytes(40)
    (tmp_path / "g.h5").write_bytes(content)
    with pytest.raises(DataError, match="damaged"):
        read_all(Galaxy10(tmp_path / "g.h5"))


def test_half_a_pair_and_unreadable_npy(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((3, 8, 8, 3), np.uint8))
    with pytest.raises(DataError, match=r"has no `labels\.npy`"):
        Galaxy10(tmp_path)
    (tmp_path / "labels.npy").write_bytes(b"\x93NUMPY broken")
    with pytest.raises(DataError, match=r"labels\.npy is not a readable"):
        Galaxy10(tmp_path)
    np.save(tmp_path / "labels.npy", np.array([{"a": 1}] * 3, dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"labels\.npy"):
        Galaxy10(tmp_path)


@pytest.mark.parametrize("image_size", [0, -1, 100_000])
def test_impossible_sizes(tmp_path, image_size):
    with pytest.raises(ConfigError, match="image_size"):
        Galaxy10(tmp_path / "g.h5", image_size=image_size)


# ---- which edition, or neither -------------------------------------------------------------------------------------


def write_pair(folder: Path, labels: np.ndarray, side: int = 20) -> Path:
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", np.random.default_rng(1).integers(0, 256, (len(labels), side, side, 3), np.uint8))
    np.save(folder / "labels.npy", labels)
    return folder


def test_the_sdss_edition_is_read_under_its_own_names_and_no_other(tmp_path):
    write_h5(tmp_path / "Galaxy10.h5", side=69, ra=None, dec=None, redshift=None)
    reader = Galaxy10Sdss(tmp_path, image_size=69)
    assert reader.path == tmp_path / "Galaxy10.h5"
    assert reader.catalog.classes == SDSS.classes
    assert reader.catalog.classes[5] == "Disk, Edge-on, Boxy Bulge"
    assert read_all(reader).shape == (ROWS, 69, 69, 3)
    with pytest.raises(DataError, match=r"this is Galaxy10 SDSS \(69 px\).*dataset=galaxy10_sdss"):
        Galaxy10(tmp_path / "Galaxy10.h5")


def test_the_decals_edition_is_not_read_as_sdss(tmp_path):
    write_h5(tmp_path / "small.h5", pxscale=np.full(ROWS, 0.262), side=69)  # shrunk, and still known by its columns
    with pytest.raises(DataError, match=r"this is Galaxy10 DECaLS.*dataset=galaxy10\."):
        Galaxy10Sdss(tmp_path / "small.h5")
    assert len(Galaxy10(tmp_path / "small.h5").catalog) == ROWS


def test_editions_are_those_of_their_documentation():
    assert sum(DECALS_COUNTS) == DECALS.images == 17736
    assert (SDSS.images, SDSS.side, len(SDSS.classes)) == (21785, 69, 10)
    whole = np.repeat(np.arange(10), DECALS_COUNTS)
    assert recognise((len(whole), 64, 64, 3), whole, ["images", "labels"]) is DECALS
    ten = np.arange(10)
    assert recognise((10, 256, 256, 3), ten, ["images", "ans"]) is DECALS
    assert recognise((10, 256, 256, 3), ten, ["images", "labels"]) is None  # ten classes of 256 px: anybody's
    assert recognise((10, 69, 69, 3), ten[:4], ["images", "ans"]) is SDSS


@pytest.mark.parametrize("reader", [Galaxy10, Galaxy10Sdss])
def test_arrays_that_are_not_known_to_be_galaxy10_are_refused_with_the_two_ways_on(tmp_path, reader):
    folder = write_pair(tmp_path / "own", np.arange(12) % 3)
    with pytest.raises(DataError, match=r"not known to be Galaxy10.*dataset=arrays.*dataset\.classes=\[") as caught:
        reader(folder)
    named = ast.literal_eval(str(caught.value).partition("dataset.classes=")[2].rstrip("."))
    assert named == list(reader.edition.classes[:3])
    part = reader(folder, classes=named)  # whoever names them knows what the labels mean
    assert part.catalog.classes == reader.edition.classes[:3]
    assert len(part.catalog) == 12


def test_a_pair_with_all_ten_classes_is_taken_as_it_is_declared(tmp_path):
    folder = write_pair(tmp_path / "small", np.arange(20) % 10)
    assert Galaxy10(folder).catalog.classes == DECALS.classes
    assert Galaxy10Sdss(folder).catalog.classes == SDSS.classes


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(1, 11), r"counts the classes from 1 to 10: .* less 1\..*dataset=arrays"),
        (np.arange(12), r"label 10 in row 10 \(2 such rows\).*dataset=arrays"),
        (np.arange(10) - 1, r"label -1 in row 0"),
    ],
)
def test_labels_that_are_shifted_or_others_are_told(tmp_path, labels, message):
    with pytest.raises(DataError, match=message):
        Galaxy10(write_pair(tmp_path / "pair", labels))


def test_a_damaged_file_is_never_to_be_removed_and_its_checksum_is_told(tmp_path):
    (tmp_path / "g.h5").write_bytes(b"<!DOCTYPE html><html>404</html>")
    with pytest.raises(DataError, match="HTML page") as caught:
        Galaxy10(tmp_path / "g.h5")
    assert DECALS.remote.sha256 in str(caught.value)
    assert "remov" not in str(caught.value)
