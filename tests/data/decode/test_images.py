"""One picture file of any format and mode to RGB uint8."""

from __future__ import annotations

import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from astroclf.data.decode import limits
from astroclf.data.decode.bands import to_channels
from astroclf.data.decode.images import fit_square, is_image, read_values
from astroclf.errors import ImageError
from tests.data.decode.pictures import decoded_file, reading

RED = (255, 0, 0)


def scene(side: int = 24) -> np.ndarray:
    """Smooth colors, so that lossy formats keep them."""
    ramp = np.linspace(0, 255, side)
    return np.stack(
        [np.tile(ramp, (side, 1)), np.tile(ramp[:, None], (1, side)), np.full((side, side), 60)], -1
    ).astype(np.uint8)


@pytest.mark.parametrize(
    ("suffix", "options", "tolerance"),
    [
        (".png", {}, 0),
        (".tif", {}, 0),
        (".tiff", {"compression": "tiff_lzw"}, 0),
        (".webp", {"lossless": True}, 0),
        (".bmp", {}, 0),
        (".JPG", {"quality": 95, "subsampling": 0}, 8),
        (".jfif", {"quality": 95, "subsampling": 0}, 8),
        (".jpe", {"quality": 95, "subsampling": 0}, 8),
        (".mpo", {"quality": 95, "subsampling": 0}, 8),
        (".jp2", {}, 0),
        (".avif", {"quality": 95, "subsampling": "4:4:4"}, 12),
        (".ppm", {}, 0),
        (".pnm", {}, 0),
    ],
)
def test_formats_give_the_same_picture(tmp_path, suffix, options, tolerance):
    path = tmp_path / f"picture{suffix}"
    Image.fromarray(scene()).save(path, **options)
    assert is_image(path)
    pixels = decoded_file(path)
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - scene()).max() <= tolerance


def test_format_is_told_by_content_not_by_name(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.jpg"), scene())


def test_grey_and_bilevel_have_equal_channels(tmp_path):
    Image.fromarray(scene()[..., 0]).save(tmp_path / "grey.png")
    pixels = decoded_file(tmp_path / "grey.png")
    for channel in range(3):
        np.testing.assert_array_equal(pixels[..., channel], scene()[..., 0])
    Image.fromarray(scene()[..., 0]).convert("1").save(tmp_path / "bits.png")
    assert set(np.unique(decoded_file(tmp_path / "bits.png"))) == {0, 255}


def test_palette_and_cmyk_keep_their_color(tmp_path):
    Image.new("RGB", (8, 8), RED).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "palette.png")
    np.testing.assert_array_equal(decoded_file(tmp_path / "palette.png")[0, 0], RED)
    Image.new("RGB", (8, 8), RED).convert("CMYK").save(tmp_path / "print.jpg", quality=95)
    assert np.abs(decoded_file(tmp_path / "print.jpg")[4, 4].astype(int) - RED).max() < 10


def test_transparency_lies_over_black(tmp_path):
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[..., 0] = 200
    pixels[:2, :, 3] = 255
    pixels[2, :, 3] = 128
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    decoded = decoded_file(tmp_path / "rgba.png")
    assert decoded[0, 0].tolist() == [200, 0, 0]
    assert abs(int(decoded[2, 0, 0]) - 100) <= 1
    assert decoded[3].max() == 0

    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 255, 255, 255])
    palette.save(tmp_path / "p.png", transparency=1)
    assert decoded_file(tmp_path / "p.png").max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_rotation_is_undone(tmp_path, orientation):
    upright = scene()
    upright[:8, :8] = RED
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undo[orientation](upright))).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(decoded_file(tmp_path / "turned.png"), upright)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_scale_by_their_full_range(tmp_path, suffix):
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    cv2.imwrite(str(tmp_path / f"grey{suffix}"), values)
    decoded = decoded_file(tmp_path / f"grey{suffix}")
    np.testing.assert_array_equal(decoded[..., 1], np.round(values / 257).astype(np.uint8))
    cv2.imwrite(str(tmp_path / f"color{suffix}"), np.stack([values, values // 2, values // 4], -1))  # BGR
    color = decoded_file(tmp_path / f"color{suffix}").astype(int)
    assert np.abs(color[..., 0] - values / 257 / 4).max() <= 1
    assert np.abs(color[..., 2] - values / 257).max() <= 1


@pytest.mark.parametrize("alpha", [False, True])
def test_sixteen_bits_of_color_in_png_are_kept(tmp_path, alpha, capfd):
    """Pillow opens them as 8 bits: 12-bit data would be left with 16 greys."""
    rng = np.random.default_rng(0)
    values = rng.integers(0, 4096, (16, 16, 3 + alpha), np.uint16)
    if alpha:
        values[..., 3] = 65535
    cv2.imwrite(str(tmp_path / "a.png"), values)  # BGR
    read = read_values(tmp_path / "a.png", reading(), 3)
    assert read.kind == "uint16"
    np.testing.assert_array_equal(read.pixels_HWP, values[..., 2::-1])
    whole = (tmp_path / "a.png").read_bytes()
    profile = b"iCCPa\0\0bad"  # of which libpng would write to stderr
    chunk = (len(profile) - 4).to_bytes(4) + profile + zlib.crc32(profile).to_bytes(4)
    (tmp_path / "b.png").write_bytes(whole[:33] + chunk + whole[33:])
    np.testing.assert_array_equal(read_values(tmp_path / "b.png", reading(), 3).pixels_HWP, values[..., 2::-1])
    assert capfd.readouterr() == ("", "")


def test_sixteen_bit_netpbm(tmp_path):
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.pgm")
    read = read_values(tmp_path / "a.pgm", reading(), 3)
    assert read.kind == "uint16"
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], values)


def test_of_a_moving_picture_the_first_frame_is_taken_and_said(tmp_path):
    frames = [Image.fromarray(np.roll(scene(), 3 * i, axis=0)) for i in range(3)]
    for name in ("a.png", "a.webp"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], lossless=True)
        read = read_values(tmp_path / name, reading(), 3)
        np.testing.assert_array_equal(read.pixels_HWP, scene())
        assert [note.kind for note in read.notes] == ["several frames"]


def test_a_picture_in_a_data_set_of_other_channels_is_named(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png")
    with pytest.raises(
        ImageError, match=r"a\.png: a picture has 3 bands .RGB. or 1 .grey., but dataset\.channels=5"
    ) as caught:
        decoded_file(tmp_path / "a.png", channels=5)
    assert caught.value.kind == "wrong bands"


def test_big_endian_sixteen_bit_tiff(tmp_path):
    values = np.linspace(0, 65535, 256).reshape(16, 16).astype(">u2")
    header = b"MM\x00\x2a\x00\x00\x00\x08"
    entries = [(256, 3, 16), (257, 3, 16), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 110), (277, 3, 1)]
    entries += [(278, 3, 16)]
    directory = len(entries).to_bytes(2, "big")
    for tag, kind, value in entries:
        field = value.to_bytes(2, "big") + b"\0\0" if kind == 3 else value.to_bytes(4, "big")
        directory += tag.to_bytes(2, "big") + kind.to_bytes(2, "big") + (1).to_bytes(4, "big") + field
    head = (header + directory + b"\0\0\0\0").ljust(110, b"\0")
    (tmp_path / "big.tif").write_bytes(head + values.tobytes())
    expected = np.round(values.astype(float) / 257).astype(np.uint8)
    np.testing.assert_array_equal(decoded_file(tmp_path / "big.tif")[..., 0], expected)


def test_float_tiff_as_editors_write_it_and_as_telescopes_do(tmp_path):
    unit = np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16)
    Image.fromarray(unit).save(tmp_path / "unit.tif")
    np.testing.assert_array_equal(decoded_file(tmp_path / "unit.tif")[..., 0], np.round(unit * 255).astype(np.uint8))
    cv2.imwrite(str(tmp_path / "color.tif"), np.dstack([unit, unit * 0.5, unit * 0]))  # BGR
    color = decoded_file(tmp_path / "color.tif")
    np.testing.assert_array_equal(color[..., 2], np.round(unit * 255).astype(np.uint8))
    assert color[..., 0].max() == 0
    flux = (unit * 5e4 - 300).astype(np.float32)
    Image.fromarray(flux).save(tmp_path / "flux.tif")
    stretched = decoded_file(tmp_path / "flux.tif")[..., 0]
    assert stretched.min() == 0
    assert stretched.max() == 255
    assert (np.diff(stretched.ravel().astype(int)) >= 0).all()


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_truncated_file_is_an_image_error_never_half_a_picture(tmp_path, suffix):
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 256, (40, 40, 3), np.uint8)).save(tmp_path / f"whole{suffix}")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    for length in range(0, len(whole) - 300, 211):
        (tmp_path / f"cut{suffix}").write_bytes(whole[:length])
        with pytest.raises(ImageError, match="cut"):
            decoded_file(tmp_path / f"cut{suffix}")


@pytest.mark.parametrize(
    ("message", "content"),
    [("empty", b""), ("HTML page", b"<html><body>404"), ("not a picture", b"a note about last night")],
)
def test_what_is_no_picture_says_so(tmp_path, message, content):
    (tmp_path / "a.jpg").write_bytes(content)
    with pytest.raises(ImageError, match=message):
        decoded_file(tmp_path / "a.jpg")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImageError, match=r"absent\.jpg"):
        decoded_file(tmp_path / "absent.jpg")
    (tmp_path / "folder.jpg").mkdir()
    with pytest.raises(ImageError, match=r"folder\.jpg"):
        decoded_file(tmp_path / "folder.jpg")


def test_decompression_bomb_is_refused_before_it_is_decoded(tmp_path, monkeypatch):
    Image.new("L", (300, 300)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(limits, "MAX_PIXELS", 300 * 299)
    with pytest.raises(ImageError, match="300 x 300 pixels are more than the limit"):
        decoded_file(tmp_path / "bomb.png")


def test_header_that_claims_a_huge_picture(tmp_path):
    Image.new("L", (8, 8)).save(tmp_path / "a.bmp")
    content = bytearray((tmp_path / "a.bmp").read_bytes())
    content[18:26] = (60_000).to_bytes(4, "little") * 2
    (tmp_path / "a.bmp").write_bytes(content)
    with pytest.raises(ImageError, match="limit"):
        decoded_file(tmp_path / "a.bmp")


def test_damaged_exif_does_not_spoil_good_pixels(tmp_path):
    Image.fromarray(scene()).save(tmp_path / "a.png", exif=b"Exif\0\0II*\0\xff\xff\xff\xff broken")
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.png"), scene())


@given(st.integers(1, 60), st.integers(1, 60), st.integers(1, 40), st.sampled_from([1, 2, 3, 4, 5, 7, 12]))
def test_fitted_picture_is_centred_and_padded_with_zeros(height, width, size, channels):
    fitted = fit_square(np.full((height, width, channels), 200, np.uint8), size)
    assert fitted.shape == (size, size, channels)
    rows, columns = (np.flatnonzero(fitted.any(axis=(axis, 2))) for axis in (1, 0))
    longest = max(height, width)
    for there, side in ((rows, height), (columns, width)):
        assert len(there) == max(1, round(side * size / longest))
        assert abs(there[0] - (size - 1 - there[-1])) <= 1
    inside = fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (inside == 200).all()


def test_shrinks_by_area_and_grows_without_overshoot():
    picture = np.zeros((40, 40, 3), np.uint8)
    picture[20:] = 100
    np.testing.assert_array_equal(fit_square(picture, 20), cv2.resize(picture, (20, 20), interpolation=cv2.INTER_AREA))
    grown = fit_square(picture, 80)
    assert grown.max() == 100  # a cubic kernel would ring above it


@pytest.mark.parametrize("size", [13, 60])
def test_every_band_is_scaled_as_if_it_were_alone(size):
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 7), dtype=np.uint8)
    fitted = fit_square(image, size)
    for band in range(7):
        np.testing.assert_array_equal(fitted[..., band], fit_square(image[..., band : band + 1].copy(), size)[..., 0])


def test_grey_keeps_luminance(tmp_path):
    Image.new("RGB", (9, 9), (0, 255, 0)).save(tmp_path / "green.png")
    grey = to_channels(decoded_file(tmp_path / "green.png", channels=1), 1)
    assert grey.shape == (9, 9, 1)
    assert abs(int(grey[4, 4, 0]) - 150) <= 1


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *(
            (f"a.{suffix}", True)
            for suffix in ("fits.gz", "FIT", "fts", "fz", "webp", "jfif", "AVIF", "jp2", "pgm", "npy")
        ),
        *((f"a.{suffix}", False) for suffix in ("csv", "npz", "h5", "pdf", "eps", "apng")),
    ],
)
def test_names_of_images(name, expected):
    assert is_image(Path(name)) is expected
