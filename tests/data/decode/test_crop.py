"""The centre cut-out: in pixels or on the sky, of every kind of file, before black and white are found."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from astropy.io import fits

from astroclf.data.decode.crop import cropped, header_pixel_scale
from astroclf.data.decode.images import cut_out, decode_file, read_bands, read_values
from astroclf.data.decode.values import EIGHT_BIT, FITS, Values
from astroclf.errors import ImageError
from tests.data.decode.pictures import decoded_file, reading


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(100, 5, shape).astype(np.float32)


def sky_header(arcsec: float, turned: float = 30.0) -> fits.Header:
    """A tangential WCS of square pixels, turned by some degrees."""
    step, angle = arcsec / 3600, np.deg2rad(turned)
    cards = {"CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 150.0, "CRVAL2": 60.0, "CRPIX1": 10, "CRPIX2": 10}
    cards |= {"CD1_1": -step * np.cos(angle), "CD1_2": step * np.sin(angle)}
    cards |= {"CD2_1": step * np.sin(angle), "CD2_2": step * np.cos(angle)}
    return fits.Header(cards)


def test_the_centre_is_taken_from_fits_cubes_bands_and_pictures(tmp_path):
    whole = noise(3, 20, 30)
    fits.PrimaryHDU(whole).writeto(tmp_path / "cube.fits")
    cut = cut_out(read_values(tmp_path / "cube.fits", reading(crop=8)), reading(crop=8), "cube").pixels_HWP
    np.testing.assert_array_equal(cut, np.moveaxis(whole, 0, 2)[::-1][6:14, 11:19])
    for band in range(3):
        fits.PrimaryHDU(whole[band]).writeto(tmp_path / f"{band}.fits")
    files = [tmp_path / f"{band}.fits" for band in range(3)]
    same = cut_out(read_bands(files, "a", reading(crop="8px")), reading(crop="8px"), "a").pixels_HWP
    np.testing.assert_array_equal(same, cut)
    picture = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.png", reading(crop=8)), picture[6:14, 11:19, ::-1])


def test_it_is_taken_before_black_and_white_are_found(tmp_path):
    field = noise(40, 40)
    field[0, 0] = 1e6  # a star at the edge
    fits.PrimaryHDU(field).writeto(tmp_path / "a.fits")
    settings = {"interval": "minmax", "stretch": "linear"}
    assert decoded_file(tmp_path / "a.fits", reading(**settings)).mean() < 1
    assert decoded_file(tmp_path / "a.fits", reading(crop=20, **settings)).mean() > 50


@pytest.mark.parametrize("turned", [0.0, 30.0, 45.0])
def test_an_angle_is_measured_by_the_wcs_however_it_is_turned(turned):
    assert header_pixel_scale(sky_header(0.396, turned)) == pytest.approx(0.396)


def test_other_headers_tell_the_scale_by_a_card_or_not_at_all():
    assert header_pixel_scale(fits.Header({"SECPIX": 1.7})) == 1.7
    assert header_pixel_scale(fits.Header({"PIXSCALE": "unknown", "SECPIX1": 0.2})) == 0.2
    assert header_pixel_scale(fits.Header({"PIXSCALE": 0.0})) is None
    assert header_pixel_scale(fits.Header({"CTYPE1": "WAVE", "CDELT1": 1e-10})) is None
    cube = sky_header(1.8)
    cube.update({"CTYPE3": "FREQ", "CDELT3": 1e6, "CTYPE4": "STOKES", "CDELT4": 1.0})
    assert header_pixel_scale(cube) == pytest.approx(1.8)


def test_files_of_two_scales_give_the_same_area_of_sky(tmp_path):
    for scale, side in ((0.5, 60), (1.5, 40)):
        fits.PrimaryHDU(noise(side, side), sky_header(scale)).writeto(tmp_path / f"{scale}.fits")
        values = read_values(tmp_path / f"{scale}.fits", reading(crop="0.25arcmin"))
        cut = cut_out(values, reading(crop="0.25arcmin"), "a").pixels_HWP
        assert cut.shape[:2] == (round(15 / scale),) * 2


def test_a_file_that_does_not_tell_its_scale_needs_the_key(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((20, 20), np.uint8))
    with pytest.raises(ImageError, match=r"a\.png: dataset\.crop=5arcsec is an angle, but .* dataset\.pixel_scale"):
        decode_file(tmp_path / "a.png", reading(crop="5arcsec"))
    assert decoded_file(tmp_path / "a.png", reading(crop="5arcsec", pixel_scale=0.5)).shape == (10, 10, 3)
    fits.PrimaryHDU(noise(20, 20), sky_header(1.0)).writeto(tmp_path / "a.fits")
    assert decoded_file(tmp_path / "a.fits", reading(crop="5arcsec", pixel_scale=0.5)).shape == (5, 5, 3)


@pytest.mark.parametrize("kind", [FITS, EIGHT_BIT, "uint16"])
def test_a_smaller_image_keeps_its_scale_and_is_noted(kind):
    types = {FITS: np.float32, EIGHT_BIT: np.uint8, "uint16": np.uint16}
    small = noise(10, 30, 1).astype(types[kind])
    values = cropped(Values(small, kind), reading(crop=16), "a")
    assert values.pixels_HWP.shape == (16, 16, 1)
    np.testing.assert_array_equal(values.pixels_HWP[3:13], small[:, 7:23])
    edge = values.pixels_HWP[:3]
    assert (edge == 0).all() if kind == EIGHT_BIT else np.isnan(edge).all()
    assert [note.kind for note in values.notes] == ["smaller than crop"]
    assert "30 x 10 pixels are less than the cut-out of 16" in values.notes[0].message


def test_an_image_that_covers_next_to_nothing_of_the_cut_out_is_refused():
    with pytest.raises(ImageError, match="next to nothing") as raised:
        cropped(Values(noise(10, 10, 1), FITS), reading(crop=100_000), "a.fits")
    assert raised.value.kind == "smaller than crop"
