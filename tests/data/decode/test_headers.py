"""What headers say, without a pixel being decoded."""

from __future__ import annotations

import bz2
import io

import cv2
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.data.decode.headers import FileFacts, file_facts
from astroclf.settings.fits import FitsSettings

SETTINGS = FitsSettings.with_defaults()
GREY = np.arange(20 * 30, dtype=np.uint16).reshape(20, 30)


@pytest.mark.parametrize(
    ("name", "picture", "expected"),
    [
        ("a.jpg", Image.new("RGB", (30, 20)), FileFacts("JPEG", "RGB", 8, 30, 20)),
        ("a.png", Image.new("LA", (30, 20)), FileFacts("PNG", "LA", 8, 30, 20)),
        ("b.png", Image.fromarray(GREY), FileFacts("PNG", "I;16", 16, 30, 20)),
        ("c.png", Image.new("1", (30, 20)), FileFacts("PNG", "1", 1, 30, 20)),
        ("a.tif", Image.fromarray(GREY), FileFacts("TIFF", "I;16", 16, 30, 20)),
        ("b.tif", Image.fromarray(GREY.astype(np.float32)), FileFacts("TIFF", "F", 32, 30, 20)),
        ("jpeg_named.png", None, FileFacts("JPEG", "RGB", 8, 30, 20)),
    ],
)
def test_pictures(tmp_path, name, picture, expected):
    if picture is None:
        Image.new("RGB", (30, 20)).save(tmp_path / name, format="JPEG")
    else:
        picture.save(tmp_path / name)
    assert file_facts(tmp_path / name, SETTINGS) == expected


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_sixteen_bits_of_color_are_seen_though_pillow_opens_eight(tmp_path, name):
    cv2.imwrite(str(tmp_path / name), np.zeros((20, 30, 3), np.uint16))
    assert file_facts(tmp_path / name, SETTINGS)[1:] == ("RGB", 16, 30, 20)


@pytest.mark.parametrize(
    ("kind", "options", "expected"),
    [
        ("f2", {}, ("float16", 16)),
        ("f4", {"bigtiff": True}, ("F", 32)),
        ("u2", {"bigtiff": True, "compression": "zlib"}, ("I;16", 16)),
        ("f8", {}, ("float64", 64)),
    ],
)
def test_tiff_files_that_pillow_may_not_know(tmp_path, kind, options, expected, capfd):
    tifffile.imwrite(tmp_path / "a.tif", GREY.astype(kind), **options)
    assert file_facts(tmp_path / "a.tif", SETTINGS) == ("TIFF", *expected, 30, 20)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("shape", [(20, 30), (20, 30, 3), (3, 20, 30)])
def test_arrays(tmp_path, shape):
    np.save(tmp_path / "a.npy", np.zeros(shape, np.uint16))
    assert file_facts(tmp_path / "a.npy", SETTINGS) == FileFacts("npy", "uint16", 16, 30, 20)


@pytest.mark.parametrize(
    ("hdus", "settings", "expected"),
    [
        ([fits.PrimaryHDU(GREY.astype(np.int16))], SETTINGS, ("int16", 16, 30, 20)),
        ([fits.PrimaryHDU(GREY)], SETTINGS, ("uint16", 16, 30, 20)),
        ([fits.PrimaryHDU(), fits.ImageHDU(GREY.astype(np.float64))], SETTINGS, ("float64", 64, 30, 20)),
        ([fits.PrimaryHDU(), fits.CompImageHDU(GREY.astype(np.int32))], SETTINGS, ("int32", 32, 30, 20)),
        ([fits.PrimaryHDU(np.zeros((3, 20, 30), np.float32))], SETTINGS, ("float32", 32, 30, 20)),
        ([fits.PrimaryHDU(np.zeros((20, 30, 3), np.uint8))], SETTINGS, ("uint8", 8, 30, 20)),
        (
            [fits.PrimaryHDU(GREY), fits.ImageHDU(np.zeros((4, 5), np.float32), name="SCI")],
            FitsSettings.with_defaults(hdu="SCI"),
            ("float32", 32, 5, 4),
        ),
    ],
)
def test_fits(tmp_path, hdus, settings, expected):
    written = io.BytesIO()
    fits.HDUList(hdus).writeto(written)
    (tmp_path / "a.fits").write_bytes(written.getvalue())
    (tmp_path / "a.fits.bz2").write_bytes(bz2.compress(written.getvalue()))
    assert file_facts(tmp_path / "a.fits", settings) == FileFacts("FITS", *expected)
    assert file_facts(tmp_path / "a.fits.bz2", settings) == FileFacts("FITS", *expected)


@pytest.mark.parametrize("name", ["a.png", "a.fits", "a.fits.gz", "a.tif", "a.npy"])
@pytest.mark.parametrize("content", [b"", b"<html>", None])
def test_a_file_without_a_header_has_no_facts(tmp_path, name, content):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert file_facts(tmp_path / name, SETTINGS) is None
