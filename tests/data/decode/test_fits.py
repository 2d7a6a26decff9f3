"""FITS files of many kinds, written with astropy, to pictures."""

from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from astroclf.errors import ImageError
from tests.data.decode.pictures import decoded_bands, decoded_file, reading

LINEAR = reading(interval="minmax", stretch="linear")


def field(side: int = 32) -> np.ndarray:
    """Sky, noise and one star below the centre, in counts; float32."""
    y, x = np.mgrid[:side, :side]
    star = 5000 * np.exp(-((x - side / 2) ** 2 + (y - side / 4) ** 2) / 8)
    return (200 + np.random.default_rng(0).normal(0, 5, (side, side)) + star).astype(np.float32)


def write(path: Path, *hdus: fits.hdu.base.ExtensionHDU) -> Path:
    fits.HDUList(list(hdus)).writeto(path, overwrite=True)
    return path


def test_brightest_pixel_is_where_a_viewer_shows_it(tmp_path):
    picture = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(field())), LINEAR)
    assert picture.shape == (32, 32, 3)
    row, column = np.unravel_index(picture[..., 0].argmax(), (32, 32))
    assert (row, column) == (31 - 8, 16)  # FITS counts rows from the bottom


def test_faint_sky_and_bright_star_in_one_picture(tmp_path):
    picture = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(field())), reading())[..., 0]
    assert picture.max() == 255
    assert 30 < np.median(picture) < 200  # a linear min-max stretch would have the sky at zero


@pytest.mark.parametrize("kind", [">i2", "<i2", "u2", ">i4", "u4", "u1", ">f4", ">f8"])
def test_every_sample_type_gives_the_same_picture(tmp_path, kind):
    whole = np.clip(np.round((field() - 180) / 20), 0, 250)
    expected = decoded_file(write(tmp_path / "f.fits", fits.PrimaryHDU(whole.astype("f4"))), LINEAR)
    picture = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(whole.astype(kind))), LINEAR)
    np.testing.assert_array_equal(picture, expected)


def test_bscale_bzero_and_blank(tmp_path):
    raw = np.arange(1024, dtype=np.int16).reshape(32, 32)
    raw[5, 5] = -32768
    hdu = fits.PrimaryHDU(raw)
    hdu.header["BLANK"] = -32768
    write(tmp_path / "a.fits", hdu)
    with fits.open(tmp_path / "a.fits", mode="update", do_not_scale_image_data=True) as hdus:
        hdus[0].header["BSCALE"], hdus[0].header["BZERO"] = -2.0, 100.0
    picture = decoded_file(tmp_path / "a.fits", LINEAR)[::-1, :, 0]
    assert picture[5, 5] == 0
    assert picture[0, 0] == 255  # a negative BSCALE turns bright and dark round
    assert picture[31, 31] == 0
    assert picture[16, 0] == 127


def test_blank_pixels_of_unsigned_integers_are_unknown(tmp_path):
    whole = np.arange(1024, dtype=np.uint16).reshape(32, 32) + 100
    whole[5, 5] = 60_000
    hdu = fits.PrimaryHDU(whole)
    hdu.header["BLANK"] = 60_000 - 2**15  # as it is in the file
    picture = decoded_file(write(tmp_path / "a.fits", hdu), LINEAR)[::-1, :, 0]
    assert picture[5, 5] == 0
    assert picture[31, 31] == 255


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"])
def test_tile_compressed(tmp_path, compression):
    whole = np.clip(np.round(field() - 150), 0, 6000).astype(np.int32)
    write(tmp_path / "a.fits.fz", fits.PrimaryHDU(), fits.CompImageHDU(whole, compression_type=compression))
    plain = decoded_file(write(tmp_path / "b.fits", fits.PrimaryHDU(whole)), LINEAR)
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.fits.fz", LINEAR), plain)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_packed_files(tmp_path, suffix, pack):
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(field()))
    (tmp_path / f"a.fits{suffix}").write_bytes(pack(plain.read_bytes()))
    np.testing.assert_array_equal(decoded_file(tmp_path / f"a.fits{suffix}"), decoded_file(plain))


def test_first_image_hdu_is_found_behind_headers_and_tables(tmp_path):
    table = fits.BinTableHDU.from_columns([fits.Column(name="flux", format="E", array=np.arange(4.0))])
    spectrum = fits.ImageHDU(np.arange(50.0))
    image, mask = fits.ImageHDU(field(), name="SCI"), fits.ImageHDU(field()[::-1].copy(), name="ERR")
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(), table, spectrum, image, mask)
    first = decoded_file(path, reading())
    np.testing.assert_array_equal(first, decoded_file(path, reading(hdu="SCI")))
    np.testing.assert_array_equal(first, decoded_file(path, reading(hdu=3)))
    assert not np.array_equal(first, decoded_file(path, reading(hdu="err")))
    with pytest.raises(ImageError, match=r"no HDU `DQ`.*SCI"):
        decoded_file(path, reading(hdu="DQ"))
    with pytest.raises(ImageError, match="not an image but a table"):
        decoded_file(path, reading(hdu=1))


def test_three_planes_are_red_green_blue_in_either_order(tmp_path):
    planes = np.stack([field(), field()[::-1] * 2, field()[:, ::-1] + 7])
    first = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(planes)), LINEAR)
    last = decoded_file(write(tmp_path / "b.fits", fits.PrimaryHDU(np.moveaxis(planes, 0, -1).copy())), LINEAR)
    np.testing.assert_array_equal(first, last)
    for channel in range(3):
        grey = decoded_file(write(tmp_path / "c.fits", fits.PrimaryHDU(planes[channel])), LINEAR)
        np.testing.assert_array_equal(first[..., channel], grey[..., 0])


@pytest.mark.parametrize("collapse", ["mean", "median", "max"])
def test_cube_is_collapsed_over_known_values(tmp_path, collapse):
    cube = np.random.default_rng(1).normal(100, 10, (7, 32, 32))
    cube[:3, 4, 4] = np.nan
    flat = {"mean": np.nanmean, "median": np.nanmedian, "max": np.nanmax}[collapse](cube, 0)
    settings = reading(interval="minmax", stretch="linear", collapse=collapse)
    expected = decoded_file(write(tmp_path / "flat.fits", fits.PrimaryHDU(flat)), settings)
    np.testing.assert_array_equal(
        decoded_file(write(tmp_path / "cube.fits", fits.PrimaryHDU(cube)), settings), expected
    )
    cube[:, 9, 9] = np.nan
    hole = decoded_file(write(tmp_path / "hole.fits", fits.PrimaryHDU(cube)), settings)[::-1]
    assert hole[9, 9].max() == 0


def test_degenerate_axes_of_radio_images(tmp_path):
    path = write(tmp_path / "radio.fits", fits.PrimaryHDU(field()[None, None]))
    plain = write(tmp_path / "plain.fits", fits.PrimaryHDU(field()))
    np.testing.assert_array_equal(decoded_file(path, LINEAR), decoded_file(plain, LINEAR))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_pixels_become_black_and_leave_the_others_alone(tmp_path, bad):
    spoilt = field()
    spoilt[20:24, 3:9] = bad
    settings = reading(stretch="linear", interval="percentile", percentile=100)
    picture = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(spoilt)), settings)[::-1, :, 0]
    assert picture[20:24, 3:9].max() == 0
    whole = decoded_file(write(tmp_path / "b.fits", fits.PrimaryHDU(field())), settings)[::-1, :, 0]
    assert np.abs(picture[:20].astype(int) - whole[:20]).max() <= 1
    filled = decoded_file(tmp_path / "a.fits", reading(fill="background"))[::-1, :, 0]
    assert 30 < filled[21, 5] < 200


def test_share_of_bad_pixels_is_limited(tmp_path):
    spoilt = field()
    spoilt[:16] = np.nan
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(spoilt))
    assert decoded_file(path, reading(max_bad_fraction=0.5)).any()
    with pytest.raises(ImageError, match=r"50\.0% of the pixels"):
        decoded_file(path, reading(max_bad_fraction=0.4))


@pytest.mark.parametrize("interval", ["zscale", "percentile", "minmax"])
@pytest.mark.parametrize("stretch", ["asinh", "linear", "log", "sqrt"])
def test_brighter_flux_is_never_darker(tmp_path, interval, stretch):
    ramp = np.linspace(-50, 3000, 1024).reshape(32, 32)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(ramp))
    values = decoded_file(path, reading(interval=interval, stretch=stretch))[::-1, :, 0].ravel().astype(int)
    assert (np.diff(values) >= 0).all()
    assert (values[0], values[-1]) == (0, 255)


def test_mostly_masked_image_still_shows_its_star(tmp_path):
    sparse = np.zeros((32, 32), np.float32)
    sparse[10, 10] = 9
    picture = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(sparse)), reading())[::-1]
    assert picture[10, 10].tolist() == [255] * 3
    assert picture[0, 0].max() == 0


def bad_files() -> dict[str, fits.HDUList]:
    table = fits.BinTableHDU.from_columns([fits.Column(name="flux", format="E", array=np.arange(4.0))])
    groups = fits.GroupsHDU(
        fits.GroupData(np.ones((3, 1, 1, 1, 3)), parnames=["UU"], pardata=[np.arange(3.0)], bitpix=-32)
    )
    return {
        "every pixel is NaN": fits.HDUList([fits.PrimaryHDU(np.full((8, 8), np.nan))]),
        "constant": fits.HDUList([fits.PrimaryHDU(np.full((8, 8), 3.0))]),
        "the same value": fits.HDUList([fits.PrimaryHDU(np.ones((1, 1)))]),
        "a table": fits.HDUList([fits.PrimaryHDU(), table]),
        "header without data": fits.HDUList([fits.PrimaryHDU()]),
        "1-D data": fits.HDUList([fits.PrimaryHDU(np.arange(9.0))]),
        "4 axes": fits.HDUList([fits.PrimaryHDU(np.zeros((2, 2, 8, 8)))]),
        "random groups": fits.HDUList([groups]),
    }


@pytest.mark.parametrize("message", list(bad_files()))
def test_file_without_a_usable_image_is_named(tmp_path, message):
    bad_files()[message].writeto(tmp_path / "bad.fits")
    with pytest.raises(ImageError, match=rf"bad\.fits: .*{message}"):
        decoded_file(tmp_path / "bad.fits")


def test_zero_sized_and_monstrous_axes(tmp_path):
    plain = write(tmp_path / "a.fits", fits.PrimaryHDU(field())).read_bytes()
    for axis, message in ((0, "axis of size zero"), (99_999_999, "more than the limit")):
        card = b"NAXIS1  = " + str(axis).rjust(20).encode()
        (tmp_path / "bad.fits").write_bytes(plain.replace(b"NAXIS1  = " + b"32".rjust(20), card))
        with pytest.raises(ImageError, match=message):
            decoded_file(tmp_path / "bad.fits")


def test_truncated_or_foreign_files(tmp_path):
    whole = write(tmp_path / "a.fits", fits.PrimaryHDU(field())).read_bytes()
    packed = gzip.compress(whole)
    cases = [("cut.fits", whole[:length]) for length in (0, 80, 2000, 2880, 4000, 6900)]
    cases += [("cut.fits.gz", packed[: len(packed) // 2]), ("cut.fits", b"<html>404</html>")]
    for name, content in cases:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match="cut"):
            decoded_file(tmp_path / name)


# ---- several bands --------------------------------------------------------------------------------------------------


def cube(planes: int, side: int = 24) -> np.ndarray:
    """Planes that all differ."""
    return np.random.default_rng(planes).normal(100, 10, (planes, side, side)).astype(np.float32)


def alone(tmp_path: Path, plane: np.ndarray) -> np.ndarray:
    """What one plane gives in a file of its own, (H, W)."""
    return decoded_file(write(tmp_path / "alone.fits", fits.PrimaryHDU(plane)), LINEAR)[..., 0]


@pytest.mark.parametrize("channels", [2, 4, 5, 7, 12])
def test_a_cube_of_as_many_planes_as_channels_has_one_band_a_plane(tmp_path, channels):
    planes = cube(channels)
    image = decoded_file(write(tmp_path / "a.fits", fits.PrimaryHDU(planes)), LINEAR, channels)
    assert image.shape == (24, 24, channels)
    for band in range(channels):
        np.testing.assert_array_equal(image[..., band], alone(tmp_path, planes[band]))


def test_planes_are_chosen_in_the_order_given(tmp_path):
    planes = cube(9)
    path = write(tmp_path / "a.fits", fits.PrimaryHDU(planes))
    image = decoded_file(path, reading(interval="minmax", stretch="linear", planes=[7, 0, 3]))
    for band, plane in enumerate((7, 0, 3)):
        np.testing.assert_array_equal(image[..., band], alone(tmp_path, planes[plane]))
    grey = decoded_file(path, reading(interval="minmax", stretch="linear", planes=[4]))
    np.testing.assert_array_equal(grey, np.repeat(alone(tmp_path, planes[4])[..., None], 3, axis=2))
    with pytest.raises(ImageError, match=r"no plane 9 \(dataset\.planes\); the image has 9, counted from 0"):
        decoded_file(path, reading(planes=[0, 1, 9]))


def test_several_hdus_give_one_band_each(tmp_path):
    planes = cube(5)
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(planes[0], name="R"), fits.ImageHDU(planes[1], name="G")]
    path = write(
        tmp_path / "a.fits", *hdus, fits.CompImageHDU(planes[2], name="B", compression_type="GZIP_2", quantize_level=0)
    )
    image = decoded_file(path, reading(interval="minmax", stretch="linear", hdu=["B", 1, "g"]))
    for band, plane in enumerate((2, 0, 1)):
        np.testing.assert_array_equal(image[..., band], alone(tmp_path, planes[plane]))
    with pytest.raises(ImageError, match=r"no HDU `I`.*1: R, 2: G, 3: B"):
        decoded_file(path, reading(hdu=["I", "R", "G"]))
    small = fits.ImageHDU(planes[4][:20], name="SMALL")
    path = write(tmp_path / "b.fits", *hdus, small)
    with pytest.raises(ImageError, match=r"b\.fits: its bands differ in size: 24 x 24 in HDU R, 20 x 24 in HDU SMALL"):
        decoded_file(path, reading(hdu=["R", "G", "SMALL"]))


def test_one_file_a_band(tmp_path):
    planes = cube(4)
    names = ("m51_y.fits", "m51_i.fits.gz", "m51_r.fits", "m51_g.fits.fz")
    paths = [tmp_path / name for name in names]
    for path, plane in zip(paths[:3], planes, strict=False):
        write(path, fits.PrimaryHDU(plane))
    write(paths[3], fits.PrimaryHDU(), fits.CompImageHDU(planes[3], compression_type="GZIP_2", quantize_level=0))
    image = decoded_bands(paths, "m51", LINEAR, 4)
    for band in range(4):
        np.testing.assert_array_equal(image[..., band], alone(tmp_path, planes[band]))
    # a cube among the bands is one band, whatever its number of planes
    write(paths[0], fits.PrimaryHDU(np.stack([planes[0] - 1, planes[0], planes[0] + 1])))
    collapsed = decoded_bands(paths, "m51", LINEAR, 4)
    assert np.abs(collapsed.astype(int) - image).max() <= 1

    write(paths[2], fits.PrimaryHDU(planes[2][:9]))
    with pytest.raises(ImageError, match=r"m51: .*24 x 24 in file m51_y\.fits, 9 x 24 in file m51_r\.fits") as raised:
        decoded_bands(paths, "m51", LINEAR, 4)
    assert raised.value.kind == "wrong bands"
    paths[2].unlink()
    with pytest.raises(ImageError, match=r"m51_r\.fits: there is no such file, one of the bands") as raised:
        decoded_bands(paths, "m51", LINEAR, 4)
    assert raised.value.kind == "missing"


def test_bands_that_do_not_fit_the_channels_say_which_keys_choose(tmp_path):
    spectral = write(tmp_path / "spectral.fits", fits.PrimaryHDU(cube(9)))
    plain = write(tmp_path / "plain.fits", fits.PrimaryHDU(field()))
    color = write(tmp_path / "color.fits", fits.PrimaryHDU(cube(3)))
    for path, has in ((spectral, "9 x 24 x 24 values give 1 band,"), (plain, "1 band,"), (color, "3 bands,")):
        with pytest.raises(
            ImageError, match=rf"{path.name}: .*{has} but dataset\.channels=5.*dataset\.planes.*hdu.*files"
        ):
            decoded_file(path, reading(), 5)


def test_grey_and_color_serve_each_other(tmp_path):
    """A data set in grey is decoded as one in color is: the luminance comes after."""
    for planes in (1, 3, 9):
        path = write(tmp_path / "a.fits", fits.PrimaryHDU(cube(planes)))
        np.testing.assert_array_equal(decoded_file(path, LINEAR, 1), decoded_file(path, LINEAR, 3))
