"""Class folders and metadata.csv: which samples they list, and what they refuse."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from astropy.io import fits
from PIL import Image

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.data.decode import limits
from astroclf.data.decode.images import decode_file, read_values
from astroclf.data.decode.tone import measure, tones_from_plain
from astroclf.data.readers import folder
from astroclf.data.readers.folder import ClassFolder
from astroclf.errors import ConfigError, DataError
from astroclf.settings.reading import ReadSettings
from tests.data.decode.pictures import decoded_file, reading


def write_image(path: Path, value: int = 100, size: tuple[int, int] = (20, 12)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.new("RGB", size, (value, value // 2, 0))
    picture.putpixel((0, 0), (255, 255, 255))
    picture.save(path)


@pytest.fixture
def sky(tmp_path):
    for name in ("galaxy", "Black Hole", "star"):
        for number in range(3):
            write_image(tmp_path / name / f"{number}.png", value=50 * number + 10)
    return tmp_path


def write_table(folder: Path, text: str) -> None:
    (folder / "metadata.csv").write_text(text, encoding="utf-8")


def test_found_classes_are_sorted_and_ids_relative(sky):
    reader = ClassFolder(sky, "found", 16)
    assert reader.catalog.classes == ("Black Hole", "galaxy", "star")
    assert reader.catalog.ids[3] == "galaxy/0.png"
    np.testing.assert_array_equal(reader.catalog.labels, [0, 0, 0, 1, 1, 1, 2, 2, 2])


def test_listed_classes_give_the_order_in_any_spelling(sky):
    reader = ClassFolder(sky, ["star", "black_hole", "GALAXY"], 16)
    assert reader.catalog.classes == ("star", "black_hole", "GALAXY")
    labels = dict(zip(reader.catalog.ids, reader.catalog.labels, strict=True))
    assert labels["star/1.png"] == 0
    assert labels["Black Hole/1.png"] == 1


def test_deeper_files_count_hidden_and_other_files_do_not(sky):
    write_image(sky / "galaxy" / "night 2" / "0.png")
    write_image(sky / "galaxy" / ".thumbnails" / "0.png")
    write_image(sky / ".trash" / "0.png")
    write_image(sky / "__MACOSX" / "0.png")
    (sky / "galaxy" / "notes.txt").write_text("seeing 1.2")
    (sky / "docs").mkdir()
    assert ClassFolder(sky, ["galaxy", "black hole", "star"], 16).catalog.class_counts().tolist() == [4, 3, 3]


def test_a_file_name_that_no_table_could_hold_is_refused(sky):
    (sky / "galaxy" / os.fsdecode(b"m\xff51.png")).touch()
    with pytest.raises(DataError, match=r"udcff51\.png' is not valid in UTF-8"):
        ClassFolder(sky, "found", 16)


def test_a_file_that_may_be_read_again_makes_another_fingerprint(sky, monkeypatch):
    reader = ClassFolder(sky, "found", 16)
    allowed = reader.fingerprint()
    monkeypatch.setattr(os, "access", lambda path, mode: not str(path).endswith("galaxy/0.png"))
    assert reader.fingerprint() != allowed


def test_missing_class_names_it_and_the_remedy(sky):
    with pytest.raises(DataError, match=r"comet, planet.*dataset\.classes=found"):
        ClassFolder(sky, ["galaxy", "star", "black hole", "comet", "planet"], 16)


def test_unknown_folder_names_it_and_the_nearest(sky):
    write_image(sky / "galaxi" / "0.png")
    with pytest.raises(DataError, match=r"`galaxi` is none.*did you mean `galaxy`"):
        ClassFolder(sky, ["galaxy", "black hole", "star"], 16)


@pytest.mark.parametrize("classes", ["found", ["galaxy", "star"], ["galaxy", "star", "black hole"]])
def test_excluded_class_is_gone(sky, classes):
    reader = ClassFolder(sky, classes, 16, exclude_classes=["black-hole"])
    assert reader.catalog.classes == ("galaxy", "star")
    assert len(reader.catalog) == 6


def test_excluding_what_is_not_there_is_refused(sky):
    with pytest.raises(DataError, match="did you mean `galaxy`"):
        ClassFolder(sky, ["galaxy", "black hole", "star"], 16, exclude_classes=["galaxies"])


def test_no_images_no_folder_no_path(tmp_path):
    with pytest.raises(DataError, match="holds no images"):
        ClassFolder(tmp_path, "found", 16)
    with pytest.raises(DataError, match="no such folder"):
        ClassFolder(tmp_path / "absent", "found", 16)
    with pytest.raises(DataError, match=r"dataset\.path"):
        ClassFolder(None, "found", 16)


def test_config_values_that_cannot_be(sky):
    with pytest.raises(ConfigError, match="found"):
        ClassFolder(sky, "all", 16)
    with pytest.raises(ConfigError, match="Did you mean 'stretch'"):
        ClassFolder(sky, "found", 16, reading=ReadSettings.with_defaults(tone={"strech": "log"}))
    with pytest.raises(ConfigError, match="Did you mean 'planes'"):
        ReadSettings.with_defaults(plains=[1])


def test_images_keep_their_aspect_and_bad_files_are_reported(sky):
    (sky / "star" / "1.png").write_bytes(b"not a picture")
    reader = ClassFolder(sky, "found", 10)
    blocks = [reader.read(rows) for rows in reader.blocks()]
    images = np.concatenate([block.images_BHWC for block in blocks])
    assert images.shape == (9, 10, 10, 3)
    assert images[0, :2].max() == 0
    assert images[0, 2:8].min(axis=(0, 1)).tolist() == [10, 5, 0]
    bad = {row: fault for block in blocks for row, fault in block.faults.items()}
    assert list(bad) == [7]
    assert "star/1.png" in bad[7].message
    assert images[7].max() == 0


def test_blocks_cover_the_catalog_in_order(sky):
    for image_size in (16, 4096):
        reader = ClassFolder(sky, "found", image_size)
        assert [row for rows in reader.blocks() for row in rows] == list(range(9))


def test_fingerprint_changes_with_what_changes_a_pixel_or_label(sky):
    def fingerprint(classes="found", size=16, **more):
        return ClassFolder(sky, classes, size, **more).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    changed = {
        fingerprint(size=17),
        fingerprint(channels=1),
        fingerprint(["star", "galaxy", "black hole"]),
        fingerprint(reading=reading(stretch="log")),
        fingerprint(exclude_classes=["star"]),
    }
    write_image(sky / "star" / "1.png", value=7, size=(30, 30))
    changed.add(fingerprint())
    assert before not in changed
    assert len(changed) == 6


def test_metadata_columns_reach_the_table(sky):
    write_table(
        sky,
        "\ufeffPath,Label,split,group,ra,dec,remark\n"
        "galaxy/0.png,spiral,train,M31,10.68,41.27,\n"
        "./star/0.png,star,,,,,bright\n"
        "galaxy\\1.png,spiral,Validation,M31,,,\n",
    )
    catalog = ClassFolder(sky, "found", 16).catalog
    assert catalog.ids.tolist() == ["galaxy/0.png", "star/0.png", "galaxy/1.png"]
    assert catalog.classes == ("spiral", "star")
    assert catalog.split.tolist() == ["train", "", "val"]
    assert catalog.group.tolist() == ["M31", "", "M31"]
    np.testing.assert_array_equal(catalog.ra_deg, [10.68, np.nan, np.nan])
    np.testing.assert_array_equal(catalog.dec_deg, [41.27, np.nan, np.nan])


def test_metadata_without_optional_columns(sky):
    write_table(sky, "path,label\ngalaxy/0.png,galaxy\nstar/0.png,star\n")
    catalog = ClassFolder(sky, "found", 16).catalog
    assert catalog.split is catalog.group is catalog.ra_deg is catalog.dec_deg is None
    assert len(catalog) == 2


def test_excluded_class_keeps_other_columns_aligned(sky):
    write_table(sky, "path,label,group\ngalaxy/0.png,galaxy,a\nstar/0.png,star,b\nstar/1.png,star,c\n")
    catalog = ClassFolder(sky, "found", 16, exclude_classes=["galaxy"]).catalog
    assert catalog.group.tolist() == ["b", "c"]
    assert catalog.labels.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ("no column `label`", "path,class\na.png,x\n"),
        ("no column `path`", ""),
        ("lists no images", "path,label\n"),
        ("line 3: the path `../secret.png` leaves", "path,label\nstar/0.png,star\n../secret.png,star\n"),
        ("leaves the data set's folder", "path,label\n/etc/passwd,star\n"),
        ("leaves the data set's folder", "path,label\nstar/../../x.png,star\n"),
        ("leaves the data set's folder", "path,label\n..\\x.png,star\n"),
        ("leaves the data set's folder", "path,label\nC:\\x.png,star\n"),
        ("leaves the data set's folder", "path,label\n.,star\n"),
        ("line 3: `star/0.png` is listed already in line 2", "path,label\nstar/0.png,star\n./star/0.png,galaxy\n"),
        ("line 2: the label is empty", "path,label\nstar/0.png,\n"),
        ("line 2: the split `trian` is none.*did you mean `train`", "path,label,split\nstar/0.png,star,trian\n"),
        ("line 2: ra=`east`", "path,label,ra,dec\nstar/0.png,star,east,0\n"),
        ("line 2: dec=`91`", "path,label,ra,dec\nstar/0.png,star,0,91\n"),
        ("line 2: more cells", "path,label\nstar/0.png,star,oops\n"),
        ("column `label` twice", "path,label,label\nstar/0.png,star,star\n"),
    ],
)
def test_metadata_that_cannot_be_right(sky, message, text):
    write_table(sky, text)
    with pytest.raises(DataError, match=message):
        ClassFolder(sky, "found", 16)


def test_metadata_in_another_encoding(sky):
    (sky / "metadata.csv").write_bytes("path,label\nstar/0.png,étoile\n".encode("latin-1"))
    with pytest.raises(DataError, match="UTF-8"):
        ClassFolder(sky, "found", 16)


def test_label_outside_the_list_names_its_line(sky):
    write_table(sky, "path,label\ngalaxy/0.png,galaxy\nstar/0.png,star\nstar/1.png,pulsar\n")
    with pytest.raises(DataError, match=r"metadata\.csv, line 4: `pulsar` is none of the classes galaxy, star"):
        ClassFolder(sky, ["galaxy", "star"], 16)


@pytest.mark.parametrize("shape", [(40, 40, 3), (40, 20, 3), (20, 39), (1, 1)])
def test_a_picture_of_one_color_is_no_usable_image_whatever_its_shape_and_format(tmp_path, shape):
    (tmp_path / "grey").mkdir()
    for suffix in ("png", "jpg", "tif", "fits"):
        if suffix == "fits":
            fits.PrimaryHDU(np.full(shape[:2], 7.5, np.float32)).writeto(tmp_path / "grey" / "0.fits")
        else:
            Image.fromarray(np.full(shape, 70, np.uint8)).save(tmp_path / "grey" / f"0.{suffix}")
    faults = ClassFolder(tmp_path, "found", 16).read(range(4)).faults
    assert [fault.kind for fault in faults.values()] == ["constant"] * 4
    assert "0.png: the image is constant" in faults[2].message


def test_listed_file_that_is_missing_is_an_error_of_its_row(sky):
    write_table(sky, "path,label\ngalaxy/0.png,galaxy\nstar/absent.png,star\n")
    reader = ClassFolder(sky, "found", 16)
    block = reader.read(range(2))
    assert list(block.faults) == [1]
    assert "absent.png" in block.faults[1].message


# ---- FITS, and bands in files of their own --------------------------------------------------------------------------

IRG_FILES = ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]
IRG = reading(files=IRG_FILES)


def write_bands(folder: Path, name: str, bands: str = "irg", size: int = 20) -> None:
    """FITS files of random fluxes, one a band."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, band in enumerate(bands):
        flux = np.random.default_rng([number, *name.encode()]).normal(100, 10, (size, size))
        fits.writeto(folder / f"{name}_{band}.fits", flux.astype(np.float32))


@pytest.fixture
def survey(tmp_path):
    for number in range(3):
        write_bands(tmp_path / "spiral", f"s{number}")
        write_bands(tmp_path / "smooth" / "deep", f"e{number}")
    return tmp_path


def test_a_sample_of_several_files_has_one_id_and_all_bands(survey):
    reader = ClassFolder(survey, "found", 20, reading=IRG)
    assert reader.catalog.ids.tolist() == [f"smooth/deep/e{n}" for n in range(3)] + [f"spiral/s{n}" for n in range(3)]
    assert reader.catalog.labels.tolist() == [0, 0, 0, 1, 1, 1]
    block = reader.read(range(6))
    assert not block.faults
    for channel, band in enumerate("irg"):
        alone = decoded_file(survey / "spiral" / f"s1_{band}.fits", reading())
        np.testing.assert_array_equal(block.images_BHWC[4, ..., channel], alone[..., 0])


def test_any_number_of_bands(survey):
    two = reading(files=[f"{{id}}_{band}.fits" for band in "gr"])
    assert ClassFolder(survey, "found", 16, channels=2, reading=two).read(range(6)).images_BHWC.shape == (
        6,
        16,
        16,
        2,
    )
    with pytest.raises(ConfigError, match=r"fits\.files names 2 bands.*dataset\.channels=3"):
        ClassFolder(survey, "found", 16, reading=two)
    with pytest.raises(ConfigError, match=r"dataset\.channels=65 is not a number of bands from 1 to 64"):
        ClassFolder(survey, "found", 16, channels=65)


def test_a_sample_without_one_of_its_bands_is_a_fault_that_names_the_file(survey):
    (survey / "spiral" / "s0_r.fits").unlink()
    (survey / "spiral" / "s2_i.fits").unlink()
    write_bands(survey / "spiral", "s3", size=9)
    write_bands(survey / "spiral", "s3", "u", size=20)
    (survey / "spiral" / "s3_u.fits").rename(survey / "spiral" / "s3_g.fits")
    block = ClassFolder(survey, "found", 16, reading=IRG).read(range(7))
    assert {row: fault.kind for row, fault in block.faults.items()} == {3: "missing", 5: "missing", 6: "wrong bands"}
    assert "s0_r.fits" in block.faults[3].message
    assert "s2_i.fits" in block.faults[5].message
    assert "spiral/s3 ({id}_i.fits, {id}_r.fits, {id}_g.fits)" in block.faults[6].message


def test_images_that_no_pattern_fits_are_told_once(survey, caplog):
    write_bands(survey / "spiral", "s0", "uz")
    write_image(survey / "spiral" / "preview.png")
    (survey / "spiral" / "notes.txt").write_text("seeing 1.2")
    reader = ClassFolder(survey, "found", 16, reading=IRG)
    assert len(reader.catalog) == 6
    (record,) = caplog.records
    told = record.getMessage()
    assert "3 image files whose name fits none of dataset.fits.files" in told
    assert told.endswith("not used: spiral/preview.png, spiral/s0_u.fits, spiral/s0_z.fits.")
    with pytest.raises(DataError, match=r"21 image files whose name fits none.*and 18 more"):
        ClassFolder(survey, "found", 16, reading=reading(files=["{id}-i.fits", "{id}-r.fits", "{id}-g.fits"]))


def test_every_band_counts_in_the_fingerprint(survey):
    before = ClassFolder(survey, "found", 16, reading=IRG).fingerprint()
    assert ClassFolder(survey, "found", 16, reading=IRG).fingerprint() == before
    assert ClassFolder(survey, "found", 16, reading=reading(files=IRG_FILES[::-1])).fingerprint() != before
    for band in "irg":
        path = survey / "spiral" / f"s1_{band}.fits"
        path.unlink()
        write_bands(survey / "spiral", "s1", band, size=40)
        after = ClassFolder(survey, "found", 16, reading=IRG).fingerprint()
        assert after != before
        before = after


def test_metadata_names_what_the_bands_share_or_any_one_of_them(survey):
    write_table(survey, "path,label\nspiral/s0,spiral\nspiral/s1_g.fits,spiral\nsmooth/deep/e0,smooth\n")
    reader = ClassFolder(survey, "found", 16, reading=IRG)
    assert reader.catalog.ids.tolist() == ["spiral/s0", "spiral/s1", "smooth/deep/e0"]
    assert not reader.read(range(3)).faults
    write_table(survey, "path,label\nspiral/s0,spiral\nspiral/s0_g.fits,spiral\n")
    with pytest.raises(DataError, match="line 3: `spiral/s0` is listed already in line 2"):
        ClassFolder(survey, "found", 16, reading=IRG)


def test_pictures_have_no_other_number_of_bands_than_three_or_one(sky):
    fault = ClassFolder(sky, "found", 16, channels=5).read(range(1)).faults[0]
    assert fault.kind == "wrong bands"
    assert "0.png: a picture has 3 bands (RGB) or 1 (grey), but dataset.channels=5" in fault.message


def test_how_numbers_become_grey_is_decided_on_a_sample_and_8_bit_files_are_not_decoded_for_it(sky, monkeypatch):
    for number in range(4):
        ramp = np.linspace(0, 1000 * (number + 1), 256).astype(np.uint16).reshape(16, 16)
        cv2.imwrite(str(sky / "star" / f"deep{number}.png"), ramp)
    read = []
    monkeypatch.setattr(folder, "read_values", lambda path, *rest: read.append(path.name) or read_values(path, *rest))
    reader = ClassFolder(sky, "found", 16)
    tones = reader.decide_tones(2)
    assert sorted(read) == [f"deep{number}.png" for number in range(4)]
    assert (tones["uint16"]["low"], tones["uint16"]["high"]) == (0, 4095)
    assert ClassFolder(sky, "found", 16).decide_tones(1) == tones
    block = reader.read(range(len(reader.catalog)))
    brightest = {name: int(image.max()) for name, image in zip(reader.catalog.ids, block.images_BHWC, strict=True)}
    # whereas a range of each file's own would make them all equally bright
    assert [brightest[f"star/deep{number}.png"] for number in range(4)] == [62, 125, 187, 249]


@pytest.mark.parametrize(
    ("tone", "interval"),
    [({}, "sigma"), ({"interval": "dataset", "fill": "background"}, "limits"), ({"sigma": 5}, "sigma")],
)
def test_what_a_package_keeps_decodes_a_new_file_as_training_did(tmp_path, tone, interval):
    for number in range(6):
        noise = np.random.default_rng(number).normal(0, 1, (40, 40)).astype(np.float32)
        noise[18:21, 18:21] += 80 * (number + 1)
        noise[0, :3] = np.nan
        (tmp_path / "radio").mkdir(exist_ok=True)
        fits.writeto(tmp_path / "radio" / f"{number}.fits", noise)
    for number in range(3):
        ramp = np.linspace(0, 1000 * (number + 1), 1600).astype(np.uint16).reshape(40, 40)
        cv2.imwrite(str(tmp_path / "radio" / f"{number}.png"), ramp)
    reader = ClassFolder(tmp_path, "found", 24, reading=reading(crop=24, **tone))
    cache = open_image_cache(reader, tmp_path / "cache", progress=False)
    kept = json.loads(json.dumps({"reading": reader.reading.to_plain(), "tones": cache.tones}))
    settings, tones = ReadSettings.from_plain(kept["reading"]), tones_from_plain(kept["tones"])
    assert tones["FITS"].interval == interval
    for name, image in zip(cache.catalog.ids, cache.images, strict=True):
        np.testing.assert_array_equal(decode_file(tmp_path / name, settings, 3, tones).image_HWC, image)


def test_the_few_files_of_another_kind_are_in_the_sample_and_large_ones_are_fewer(tmp_path, monkeypatch):
    for number in range(40):
        write_image(tmp_path / "a" / f"{number}.png", value=number)
    for number in range(12):
        fits.writeto(tmp_path / "a" / f"{number}.fits", np.random.default_rng(number).normal(0, 1, (16, 16)))
    monkeypatch.setattr(folder, "TONE_SAMPLE", 10)
    monkeypatch.setattr(folder, "TONE_LEAST", 3)
    assert "10 sampled files" in ClassFolder(tmp_path, "found", 16).decide_tones(2)["FITS"]["reason"]
    monkeypatch.setattr(folder, "TONE_BYTES", 5 * (tmp_path / "a" / "0.fits").stat().st_size)
    assert "5 sampled files" in ClassFolder(tmp_path, "found", 16).decide_tones(2)["FITS"]["reason"]


def test_large_images_are_read_and_measured_one_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "LARGE_VALUES", 100)
    at_once: list[int] = []
    inside = threading.Semaphore(100)

    def counted(values):
        inside.acquire()
        at_once.append(100 - inside._value)
        time.sleep(0.01)
        inside.release()
        return measure(values)

    monkeypatch.setattr(folder, "measure", counted)
    (tmp_path / "radio").mkdir()
    for number in range(8):
        fits.writeto(tmp_path / "radio" / f"{number}.fits", np.random.default_rng(number).normal(0, 1, (16, 16)))
    assert "FITS" in ClassFolder(tmp_path, "found", 16).decide_tones(4)
    assert at_once == [1] * 8


def test_without_labels_every_image_is_a_sample_at_any_depth(tmp_path):
    for name in ("a.png", "night/b.png", "night/deeper/c.png"):
        write_image(tmp_path / name)
    (tmp_path / "notes.txt").write_text("seeing 1.2")
    for labels in ("auto", "none"):
        reader = ClassFolder(tmp_path, "found", 16, labels=labels)
        assert reader.catalog.ids.tolist() == ["a.png", "night/b.png", "night/deeper/c.png"]
        assert reader.catalog.classes == ("unlabelled",)
        assert [item.name for item in reader.left_out] == ["notes.txt"]
    with pytest.raises(DataError, match="no images"):
        (tmp_path / "empty").mkdir()
        ClassFolder(tmp_path / "empty", "found", 16, labels="auto")


def test_labels_are_found_where_folders_or_a_table_say_them_unless_they_are_not_wanted(tmp_path):
    for name in ("E/a.png", "S/b.png", "S/c.png"):
        write_image(tmp_path / name)
    assert ClassFolder(tmp_path, "found", 16, labels="auto").catalog.classes == ("E", "S")
    assert ClassFolder(tmp_path, "found", 16, labels="none").catalog.classes == ("unlabelled",)
    (tmp_path / "metadata.csv").write_text("path,label\nE/a.png,x\nS/b.png,y\n")
    assert ClassFolder(tmp_path, "found", 16, labels="auto").catalog.classes == ("x", "y")
    assert len(ClassFolder(tmp_path, "found", 16, labels="none").catalog) == 3
    assert len(ClassFolder(tmp_path, "found", 16, labels="none", table="metadata.csv").catalog) == 2


def test_a_table_without_labels_chooses_images_where_none_are_required(tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        write_image(tmp_path / name)
    (tmp_path / "metadata.csv").write_text("path,group\na.png,7\nc.png,7\n")
    catalog = ClassFolder(tmp_path, "found", 16, labels="auto").catalog
    assert catalog.ids.tolist() == ["a.png", "c.png"]
    assert catalog.group.tolist() == ["7", "7"]
    with pytest.raises(DataError, match="no column `label`"):
        ClassFolder(tmp_path, "found", 16)
