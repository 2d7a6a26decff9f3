"""Which axes of an array are rows, columns and planes: by names, by length, and said where it is a guess."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from astroclf.data.decode.axes import AxisNames, planes_first
from astroclf.data.decode.images import cut_out, read_values
from astroclf.errors import ImageError
from tests.data.decode.pictures import reading

many = settings(max_examples=80, derandomize=True, deadline=None, database=None)
SIDES = st.integers(5, 40)
CUSTOMS = st.sampled_from(["first", "last", "smallest"])


def cube(planes: int, height: int, width: int) -> np.ndarray:
    """Numbers that all differ, (P, H, W)."""
    return np.arange(planes * height * width, dtype=np.float32).reshape(planes, height, width)


@given(st.integers(1, 4), SIDES, SIDES, CUSTOMS, st.booleans())
@many
def test_few_planes_are_found_first_or_last_without_a_guess(planes, height, width, custom, last):
    image = cube(planes, height, width)
    found, notes = planes_first(np.moveaxis(image, 0, 2) if last else image, 3, "a", custom)
    np.testing.assert_array_equal(found, image)
    assert not notes


@given(st.integers(5, 64), SIDES, SIDES, CUSTOMS, st.booleans())
@many
def test_as_many_planes_as_channels_are_found_without_a_guess(planes, height, width, custom, last):
    assume(planes < min(height, width))
    image = cube(planes, height, width)
    found, notes = planes_first(np.moveaxis(image, 0, 2) if last else image, planes, "a", custom)
    np.testing.assert_array_equal(found, image)
    assert not notes


@given(st.integers(1, 50), SIDES, SIDES, st.permutations(range(3)), st.integers(1, 60))
@many
def test_names_decide_whatever_the_lengths(planes, height, width, order, channels):
    names = ("FREQ-LSR", "DEC--SIN", "RA---SIN")
    # Rows stay before columns, as the file has them.
    order = (
        [axis for axis in order if axis == 0] + [1, 2] if order[0] == 0 else [1, 2, 0] if order[2] == 0 else [1, 0, 2]
    )
    image = cube(planes, height, width)
    header = AxisNames(tuple(names[axis] for axis in order))
    found, notes = planes_first(image.transpose(order), channels, "a", "first", header)
    np.testing.assert_array_equal(found, image)
    assert not notes


@given(st.integers(2, 30), SIDES, SIDES, st.lists(st.integers(0, 3), max_size=3))
@many
def test_axes_of_length_one_change_nothing(planes, height, width, places):
    image = cube(planes, height, width)
    longer = image
    for place in places:
        longer = np.expand_dims(longer, min(place, longer.ndim))
    found, _ = planes_first(image, 3, "a", "first")
    np.testing.assert_array_equal(planes_first(longer, 3, "a", "first")[0], found)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 3), st.integers(0, 3))
@many
def test_one_plane_with_axes_of_length_one_is_an_image(height, width, first, last):
    assume(height > 1 and width > 1)
    image = cube(1, height, width)[0]
    found, notes = planes_first(image.reshape((1,) * first + image.shape + (1,) * last), 3, "a", "first")
    np.testing.assert_array_equal(found, image[None])
    assert not notes


@pytest.mark.parametrize(
    ("shape", "custom", "planes"),
    [
        ((50, 64, 64), "smallest", 50),  # a stack, or 64 filters of 50 x 64?
        ((64, 64, 50), "smallest", 50),
        ((64, 64, 50), "first", 64),  # by the FITS standard, though the last axis is the shortest
        ((3, 40, 3), "first", 3),
    ],
)
def test_a_guess_is_said_with_what_was_taken(shape, custom, planes):
    found, notes = planes_first(np.zeros(shape), 3, "m51.npy", custom)
    assert len(found) == planes
    assert [note.kind for note in notes] == ["guessed axes"]
    size = " x ".join(map(str, shape))
    assert f"m51.npy: {size} numbers, whose axes have no names, are taken as {planes} planes" in notes[0].message


def test_a_fits_cube_of_many_planes_is_no_guess():
    found, notes = planes_first(np.zeros((53, 105, 105)), 3, "a", "first")
    assert found.shape == (53, 105, 105)
    assert not notes


def test_four_axes_are_refused_unless_one_is_of_stokes_parameters():
    with pytest.raises(ImageError, match="a: the image has 4 axes .2 x 2 x 8 x 9."):
        planes_first(np.zeros((2, 2, 8, 9)), 3, "a", "first")
    names = ("STOKES", "FREQ", "DEC--SIN", "RA---SIN")
    image = np.random.default_rng(0).random((4, 7, 8, 9))
    found, notes = planes_first(image, 3, "a", "first", AxisNames(names))
    np.testing.assert_array_equal(found, image[0])
    assert [note.kind for note in notes] == ["Stokes"]


# ---- FITS files -----------------------------------------------------------------------------------------------------


def written(path: Path, values: np.ndarray, **cards: object) -> Path:
    hdu = fits.PrimaryHDU(values.astype(np.float32))
    hdu.header.update(cards)
    hdu.writeto(path, overwrite=True)
    return path


SKY = {"CTYPE1": "RA---SIN", "CTYPE2": "DEC--SIN"}


def test_a_cube_whose_width_happens_to_be_three(tmp_path):
    image = cube(20, 16, 3)
    path = written(tmp_path / "a.fits", image, **SKY, CTYPE3="VRAD")
    read = read_values(path, reading(planes=[4, 5, 6]), 3)
    np.testing.assert_array_equal(read.pixels_HWP, np.moveaxis(image[4:7], 0, 2)[::-1])


def test_a_spectrum_in_each_pixel(tmp_path):
    """Integral-field cubes with the wavelength on the first axis of FITS, the last one here."""
    image = cube(30, 16, 12)
    cards = {"CTYPE1": "WAVE", "CTYPE2": "RA---TAN", "CTYPE3": "DEC--TAN"}
    path = written(tmp_path / "a.fits", np.moveaxis(image, 0, 2), **cards)
    read = read_values(path, reading(collapse="max"), 3)
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], image.max(axis=0)[::-1])


@pytest.mark.parametrize(("first", "step", "taken"), [(1, 1, 0), (4, -1, 3), (2, 1, 0)])
def test_of_stokes_parameters_the_total_intensity_is_taken(tmp_path, first, step, taken):
    image = np.random.default_rng(0).random((4, 1, 16, 12)).astype(np.float32)
    cards = {"CTYPE3": "FREQ", "CTYPE4": "STOKES", "CRVAL4": first, "CDELT4": step, "CRPIX4": 1}
    read = read_values(written(tmp_path / "a.fits", image, **SKY, **cards), reading(), 3)
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], image[taken, 0, ::-1])
    assert [note.kind for note in read.notes] == ["Stokes"]
    assert ("I is not among them" in read.notes[0].message) == (first == 2)
    every = read_values(tmp_path / "a.fits", reading(), 4)
    np.testing.assert_array_equal(every.pixels_HWP, np.moveaxis(image[:, 0], 0, 2)[::-1])
    assert not every.notes


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (1, 0, 2, 3)])
def test_degenerate_axes_in_either_order(tmp_path, order):
    image = cube(5, 16, 12)
    path = written(tmp_path / "a.fits", image[None].transpose(order))
    np.testing.assert_array_equal(read_values(path, reading(), 5).pixels_HWP, np.moveaxis(image, 0, 2)[::-1])


@pytest.mark.parametrize("planes", [1, 3, 4])
def test_color_last_in_fits(tmp_path, planes):
    image = np.moveaxis(cube(planes, 16, 12), 0, 2)
    read = read_values(written(tmp_path / "a.fits", image), reading(), planes)
    np.testing.assert_array_equal(read.pixels_HWP, image[::-1])
    assert not read.notes


# ---- strips and companions ------------------------------------------------------------------------------------------


def kinds(path: Path, **keys: object) -> list[str]:
    values = cut_out(read_values(path, reading(**keys), 3), reading(**keys), str(path))
    return [note.kind for note in values.notes]


def test_an_image_that_is_a_strip_is_said(tmp_path):
    assert kinds(written(tmp_path / "a.fits", cube(1, 90, 10)[0])) == ["strip"]
    assert not kinds(written(tmp_path / "b.fits", cube(1, 80, 10)[0]))
    np.save(tmp_path / "c.npy", cube(1, 10, 90)[0])
    assert kinds(tmp_path / "c.npy") == ["strip"]


@pytest.mark.parametrize("name", ["ngc1300_mask.fits", "hst_f814w_drz_wht.fits", "PSF-3.fits", "a.err.fits"])
def test_a_file_named_as_a_companion_is_said(tmp_path, name):
    said = kinds(written(tmp_path / name, cube(1, 16, 16)[0]))
    assert said == ([] if name == "a.err.fits" else ["companion"])  # what follows a dot is a suffix


def test_a_companion_hdu_is_passed_over_or_said(tmp_path):
    image, mask = cube(1, 16, 16)[0], np.zeros((16, 16), np.int32)
    mask[3:9] = 1
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(mask, name="APERTURE"), fits.ImageHDU(image, name="SCI")]
    fits.HDUList(hdus).writeto(tmp_path / "both.fits")
    read = read_values(tmp_path / "both.fits", reading(), 3)
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], image[::-1])
    assert not read.notes
    fits.HDUList(hdus[:2]).writeto(tmp_path / "alone.fits")
    assert kinds(tmp_path / "alone.fits") == ["companion"]
    assert not kinds(tmp_path / "alone.fits", hdu="APERTURE")  # as asked


def test_further_images_in_a_file_are_said(tmp_path):
    image = cube(1, 16, 16)[0]
    chips = [fits.PrimaryHDU(), *(fits.ImageHDU(image, name=name) for name in ("SCI", "ERR", "SCI2"))]
    fits.HDUList(chips).writeto(tmp_path / "a.fits")
    notes = read_values(tmp_path / "a.fits", reading(), 3).notes
    assert [note.kind for note in notes] == ["several HDUs"]
    assert "2 of its HDUs hold images (1: SCI, 3: SCI2), of which the first is taken" in notes[0].message
    assert not kinds(tmp_path / "a.fits", hdu="SCI2")
