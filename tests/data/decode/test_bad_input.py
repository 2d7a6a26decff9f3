"""Damaged files end in an error that names them, or in a correct read: never in a crash, a hang, or other pixels.

What no reader can notice: a bit that changed in the pixels of a JPEG, WebP, GIF, BMP or .npy file, of a TIFF without
deflate, of a FITS file without DATASUM, or of an HDF5 file without a filter. Those formats carry no checksum of them.
"""

from __future__ import annotations

import csv
import gzip
import io
import subprocess
import sys
import zlib
from functools import cache
from pathlib import Path

import h5py
import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import astroclf.data.decode.fits
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.errors import DataError, ImageError
from tests.data.decode import damage
from tests.data.decode.damage import FORMATS, cuts, flipped, judge, read
from tests.data.decode.pictures import decoded_file, reading

pytestmark = pytest.mark.filterwarnings("ignore")  # decoders' remarks
reproducible = settings(max_examples=30, derandomize=True, deadline=None, database=None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("damaged")


@cache
def content(name: str) -> bytes:
    return FORMATS[name].make()


@cache
def sound(name: str, folder: Path) -> np.ndarray:
    images = read(FORMATS[name], folder / name, content(name))
    assert isinstance(images, np.ndarray), images
    return images


@pytest.mark.parametrize("name", FORMATS)
def test_truncated_files(name, folder):
    whole = sound(name, folder)
    for length in cuts(content(name), at_most=30):
        outcome = read(FORMATS[name], folder / name, content(name)[:length])
        if isinstance(outcome, np.ndarray):  # only padding was lost, or whole lines of a table
            assert np.array_equal(outcome, whole[: len(outcome)])


@pytest.mark.parametrize("name", FORMATS)
@given(bits=st.lists(st.integers(0, 2**22), min_size=1, max_size=3, unique=True))
@reproducible
def test_changed_bits(name, folder, bits):
    outcome = read(FORMATS[name], folder / name, flipped(content(name), *bits))
    first = min(bit % (8 * len(content(name))) for bit in bits) // 8
    judge(FORMATS[name], sound(name, folder), outcome, first)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMATS)
def test_a_thousand_changed_bits(name, tmp_path):
    """In a process of its own: a decoder may crash, and take all that the process does with it."""
    command = [sys.executable, "-m", "tests.data.decode.damage", str(tmp_path), name, "0", "1000"]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, f"{done.stdout[-100:]}{done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_campaign_notices_a_crash_and_a_hang(tmp_path):
    program = (
        "import os, sys, time; from tests.data.decode import damage; damage.SECONDS = 1; calls = iter(range(99));"
        "real = damage.read;"
        "damage.read = lambda *a: real(*a) if next(calls) < 3 else {reaction};"
        "sys.argv = ['', {folder!r}, 'png', '0', '5']; damage.main()"
    )
    for reaction, sign in (("os.abort()", ""), ("time.sleep(30)", "Timeout"), ("1 / 0", "ZeroDivisionError")):
        code = program.format(reaction=reaction, folder=str(tmp_path))
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(damage.__file__).parents[2],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert sign in done.stderr
        assert done.stdout.splitlines()[-1].startswith("cut to")


# ---- files that claim to be huge ------------------------------------------------------------------------------------


def png_header(width: int, height: int) -> bytes:
    header = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + (13).to_bytes(4) + header + zlib.crc32(header).to_bytes(4) + (9).to_bytes(4) + b"IDAT"


def tiff_of_color_floats(width: int, height: int) -> bytes:
    """The one kind that OpenCV reads for us."""
    tags = [(256, width), (257, height), (258, 32), (259, 1), (262, 2), (273, 8), (277, 3), (278, height), (339, 3)]
    directory = b"".join(
        tag.to_bytes(2, "little") + (4).to_bytes(2, "little") + (1).to_bytes(4, "little") + value.to_bytes(4, "little")
        for tag, value in tags
    )
    return b"II*\0" + (8).to_bytes(4, "little") + len(tags).to_bytes(2, "little") + directory + bytes(4)


def jpeg_header(width: int, height: int) -> bytes:
    whole = bytearray(content("jpeg"))
    place = whole.index(b"\xff\xc0") + 5
    whole[place : place + 4] = height.to_bytes(2) + width.to_bytes(2)
    return bytes(whole)


def fits_header(width: int, height: int) -> bytes:
    header = fits.PrimaryHDU(np.zeros((2, 2), np.float32)).header
    header["NAXIS1"], header["NAXIS2"] = width, height
    return header.tostring().encode()


@pytest.mark.parametrize(
    ("name", "make"),
    [("a.png", png_header), ("a.tif", tiff_of_color_floats), ("a.jpg", jpeg_header), ("a.fits", fits_header)],
)
def test_a_small_file_that_claims_gigabytes_is_refused_by_its_header(tmp_path, name, make):
    (tmp_path / name).write_bytes(make(60_000, 60_000))
    with pytest.raises(ImageError, match=f"{name}: .*more (pixels )?than the limit") as caught:
        decoded_file(tmp_path / name)
    assert caught.value.kind == "too large"


def test_an_hdf5_file_that_claims_gigabytes_is_refused_by_its_header(tmp_path):
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.create_dataset("images", (10, 40_000, 40_000, 3), "u1", chunks=(10, 16, 16, 1))
        file["ans"] = np.arange(10)
    with pytest.raises(DataError, match=r"g\.h5: `images` has images of 40000 x 40000 pixels"):
        Galaxy10(tmp_path / "g.h5")


def test_a_file_that_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(astroclf.data.decode.fits, "MAX_BYTES", 100_000)
    (tmp_path / "a.fits.gz").write_bytes(gzip.compress(content("fits") + bytes(2880 * 40)))
    with pytest.raises(ImageError, match=r"a\.fits\.gz: more than 100,000 bytes when decompressed"):
        decoded_file(tmp_path / "a.fits.gz")


# ---- single cases that campaigns found ------------------------------------------------------------------------------


def test_hdf5_parts_that_were_never_written_are_not_taken_for_black(tmp_path):
    for layout in ({}, {"chunks": (5, 8, 8, 1)}, {"chunks": (5, 8, 8, 1), "compression": "gzip"}):
        with h5py.File(tmp_path / "g.h5", "w") as file:
            images = file.create_dataset("images", (10, 16, 16, 3), "u1", **layout)
            file["ans"] = np.arange(10)
            if layout:
                images[:5] = 7  # the other half is not in the file
        reader = Galaxy10(tmp_path / "g.h5", 16)
        with pytest.raises(DataError, match="cannot be read"):
            reader.read(range(10))


def test_labels_that_were_never_written_are_not_taken_for_class_0(tmp_path):
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file["images"] = np.zeros((10, 16, 16, 3), np.uint8)
        file.create_dataset("ans", (10,), "u1", chunks=(5,))
    with pytest.raises(DataError, match="nowhere in the file.*damaged, or was copied incompletely"):
        Galaxy10(tmp_path / "g.h5")


def test_sky_positions_that_are_no_angles_are_named(tmp_path):
    for name, values in (("ra", np.full(10, 1e30)), ("dec", np.full(10, -91.0))):
        with h5py.File(tmp_path / "g.h5", "w") as file:
            file["images"], file["ans"] = np.zeros((10, 16, 16, 3), np.uint8), np.arange(10)
            file["ra"], file["dec"] = np.zeros(10), np.full(10, np.nan)
            file[name][...] = values
        with pytest.raises(DataError, match=f"`{name}` is .* in row 0 .10 such rows.: no angle"):
            Galaxy10(tmp_path / "g.h5")


def test_npy_file_longer_than_its_header_says(tmp_path):
    np.save(tmp_path / "images.npy", np.zeros((10, 8, 8, 3), np.uint8))
    np.save(tmp_path / "labels.npy", np.arange(10))
    with (tmp_path / "images.npy").open("ab") as file:
        file.write(bytes(192))
    with pytest.raises(DataError, match=r"images\.npy is 192 bytes longer than the array of shape \(10, 8, 8, 3\)"):
        Galaxy10(tmp_path)


def test_a_damaged_tiff_is_not_read_with_other_pixels_by_the_second_decoder(tmp_path, capfd):
    whole = content("tiff-deflate")
    (tmp_path / "a.tif").write_bytes(flipped(whole, 4 * len(whole)))
    with pytest.raises(ImageError, match="damaged"):
        decoded_file(tmp_path / "a.tif")


def test_png_pixels_that_do_not_match_their_checksum(tmp_path):
    """A stream that inflates without an error: only the chunk's own checksum tells."""
    whole = content("png")
    place = whole.index(b"IDAT")
    length = int.from_bytes(whole[place - 4 : place])
    raw = bytearray(zlib.decompress(whole[place + 4 : place + 4 + length]))
    raw[-1] ^= 64
    other = zlib.compress(raw)
    rest = whole[place + 4 + length :]
    (tmp_path / "a.png").write_bytes(whole[: place - 4] + len(other).to_bytes(4) + b"IDAT" + other + rest)
    with pytest.raises(ImageError, match="a.png: damaged: the checksum of its IDAT chunk is wrong"):
        decoded_file(tmp_path / "a.png")


def test_a_wrong_checksum_of_a_note_behind_the_pixels_says_nothing_against_them(tmp_path):
    note, buffer = PngInfo(), io.BytesIO()
    note.add(b"noTe", b"seeing 0.7", after_idat=True)
    Image.fromarray(damage.scene()).save(buffer, "PNG", pnginfo=note)
    (tmp_path / "a.png").write_bytes(buffer.getvalue().replace(b"seeing", b"Seeing"))
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.png"), damage.scene())


@pytest.mark.parametrize("compressed", [False, True])
def test_fits_data_that_do_not_match_their_sum(tmp_path, compressed):
    whole = damage.fits_file(compressed=compressed, checksum=True)()
    path = tmp_path / ("a.fits.fz" if compressed else "a.fits")
    path.write_bytes(whole[:-2880] + flipped(whole[-2880:], 100))
    with pytest.raises(ImageError, match="do not match their DATASUM card.*fits.checksum=false"):
        decoded_file(path)


def test_a_fits_sum_that_a_program_left_stale_can_be_ignored(tmp_path):
    path = tmp_path / "star" / "a.fits"
    path.parent.mkdir()
    path.write_bytes(damage.fits_file(checksum=True)())
    with fits.open(path) as hdus:
        hdus[0].data = hdus[0].data + 1
        hdus.writeto(path, overwrite=True)
    for checksum, faults in ((True, 1), (False, 0)):
        block = ClassFolder(tmp_path, "found", 32, reading=reading(checksum=checksum)).read(range(1))
        assert len(block.faults) == faults


def test_a_header_that_was_added_to_after_its_sum_is_read(tmp_path):
    path = tmp_path / "a.fits"
    path.write_bytes(
        damage.fits_file(checksum=True)().replace(b"END     ", b"FILTER  = 'r'".ljust(80) + b"END     ", 1)
    )
    whole = path.read_bytes()
    path.write_bytes(whole[:2880] + whole[2960:])  # one blank card less
    assert decoded_file(path).shape == (40, 56, 3)


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "tiff", "webp"])
def test_a_file_that_breaks_off_early_is_not_called_something_else(tmp_path, name):
    path = tmp_path / Path(FORMATS[name].name).name
    path.write_bytes(content(name)[:12])
    with pytest.raises(ImageError, match="damaged or truncated"):
        decoded_file(path)


# ---- metadata.csv ---------------------------------------------------------------------------------------------------


@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=3))
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
def test_no_path_in_a_table_leaves_the_folder(folder, names):
    check_paths(folder, names)


@given(
    st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "C:", "~", "\0", " ", "etc", "//"]), min_size=1, max_size=6)
)
@settings(max_examples=100, derandomize=True, deadline=None, database=None)
def test_no_path_made_of_dots_and_slashes_leaves_the_folder(folder, parts):
    check_paths(folder, ["".join(parts)])


def check_paths(folder: Path, names: list[str]) -> None:
    place = folder / "paths"
    place.mkdir(exist_ok=True)
    with (place / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("path", "label"), *((name, "star") for name in names)])
    try:
        catalog = ClassFolder(place, "found", 16).catalog
    except DataError:
        return
    for identifier in catalog.ids.tolist():
        assert (place / identifier).resolve().is_relative_to(place.resolve())


@pytest.mark.parametrize(
    ("message", "line"),
    [("line 2: fewer cells", "a.png,star"), ("line 2: 'st\\\\x08ar' holds a control", "a.png,st\bar,")],
)
def test_lines_that_lost_a_comma_or_gained_a_control_character(tmp_path, message, line):
    (tmp_path / "metadata.csv").write_text(f"path,label,split\n{line}\n")
    with pytest.raises(DataError, match=message):
        ClassFolder(tmp_path, "found", 16)
