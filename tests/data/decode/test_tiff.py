"""TIFF files of every form that tifffile writes, read back as what it reads itself, by the rules of docs/data.md."""

from __future__ import annotations

import io
import logging
import zlib
from itertools import cycle, islice, product
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from astroclf.data.decode.images import read_values
from astroclf.data.decode.values import Values
from astroclf.errors import ImageError
from tests.data.decode.pictures import decoded_file, reading

HEIGHT, WIDTH = 21, 35
TYPES = ("u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8")
KINDS = {"u1": "8-bit", "u2": "uint16", "u4": "uint32", "u8": "uint64", "i1": "int8", "i2": "int16", "i4": "int32"}
KINDS |= {"i8": "int64"}
# How a file holds its numbers, in every combination that tifffile writes by itself.
CONTAINERS = [
    {"compression": compression, "byteorder": order, "bigtiff": big, **shape}
    for compression, order, big, shape in product(
        (None, "zlib"), "<>", (False, True), ({}, {"tile": (16, 16)}, {"rowsperstrip": 5})
    )
]


def numbers(kind: str, *shape: int) -> np.ndarray:
    """Numbers over the whole range of an integer type; floats from -3 to 5, which half floats keep."""
    rng = np.random.default_rng(len(shape))
    if kind[0] == "f":
        return rng.uniform(-3, 5, shape).astype(kind)
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, shape, kind, endpoint=True)


def values_of(path: Path, channels: int = 3, **keys: object) -> Values:
    return read_values(path, reading(**keys), channels)


def turned_round(array: np.ndarray) -> np.ndarray:
    return 1 - array.astype(np.result_type(array, np.float32)) if array.dtype.kind == "f" else ~array


# layout: shape, what imwrite is told, channels, and the bands (H, W, P) of what imread gives
LAYOUTS = {
    "grey": ((HEIGHT, WIDTH), {"photometric": "minisblack"}, 3, lambda a: a[..., None]),
    "white is zero": ((HEIGHT, WIDTH), {"photometric": "miniswhite"}, 3, lambda a: turned_round(a)[..., None]),
    "color": ((HEIGHT, WIDTH, 3), {"photometric": "rgb"}, 3, lambda a: a),
    "planar color": ((3, HEIGHT, WIDTH), {"photometric": "rgb", "planarconfig": "separate"}, 1, lambda a: a),
    "bands": ((HEIGHT, WIDTH, 5), {"photometric": "minisblack", "planarconfig": "contig"}, 5, lambda a: a),
    "planar bands": ((5, HEIGHT, WIDTH), {"photometric": "minisblack", "planarconfig": "separate"}, 5, lambda a: a),
    "pages": ((4, HEIGHT, WIDTH), {"photometric": "minisblack"}, 4, lambda a: a),
    "color pages": ((3, HEIGHT, WIDTH), {"photometric": "minisblack", "metadata": None}, 3, lambda a: a),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_tifffile_writes_is_read_as_it_reads_it(tmp_path, layout):
    """Each type of numbers in 7 of the 24 containers, others for each type."""
    shape, options, channels, bands = LAYOUTS[layout]
    containers = cycle(CONTAINERS)
    for kind in TYPES:
        for container in islice(containers, 7):
            path = tmp_path / "a.tif"
            tifffile.imwrite(path, numbers(kind, *shape), **options, **container)
            read = tifffile.imread(path)
            expected = bands(read)
            if "planar" in layout or "pages" in layout:
                expected = np.moveaxis(expected, 0, 2)
            values = values_of(path, channels)
            assert values.kind == KINDS.get(kind, "float"), (kind, container)
            assert values.pixels_HWP.dtype.isnative
            np.testing.assert_array_equal(values.pixels_HWP, expected, err_msg=f"{kind} {container}")
            assert not values.notes


def test_planar_and_joint_samples_of_every_type_make_the_same_picture(tmp_path):
    for kind in ("u1", "u2", "f4"):
        image = numbers(kind, HEIGHT, WIDTH, 3)
        tifffile.imwrite(tmp_path / "joint.tif", image, photometric="rgb")
        tifffile.imwrite(tmp_path / "planar.tif", np.moveaxis(image, 2, 0), photometric="rgb", planarconfig="separate")
        np.testing.assert_array_equal(decoded_file(tmp_path / "joint.tif"), decoded_file(tmp_path / "planar.tif"))


# ---- what imagecodecs reads for tifffile --------------------------------------------------------------------------


def packed(values: np.ndarray, bits: int) -> bytes:
    """Rows of integers of so many bits, each beginning at a whole byte."""
    flags = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    return np.packbits(flags.reshape(len(values), -1).astype(np.uint8), axis=1).tobytes()


def tiff(
    width: int, height: int, data: bytes, *, bits: int = 8, samples: int = 1, order: str = "little", **tags
) -> bytes:
    """A TIFF file of one strip; `tags` such as t259 replace those that it needs."""
    entries = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 277: samples, 278: height, 279: len(data)}
    entries |= {int(name[1:]): value for name, value in tags.items()}
    entries[273] = 8 + 2 + 12 * (len(entries) + 1) + 4
    directory = b"".join(
        tag.to_bytes(2, order) + (4).to_bytes(2, order) + (1).to_bytes(4, order) + value.to_bytes(4, order)
        for tag, value in sorted(entries.items())
    )
    magic = {"little": b"II*\0", "big": b"MM\0*"}[order]
    return magic + (8).to_bytes(4, order) + len(entries).to_bytes(2, order) + directory + bytes(4) + data


@pytest.mark.parametrize("bits", [2, 4, 6, 10, 12, 14])
def test_packed_integers(tmp_path, bits):
    values = np.random.default_rng(0).integers(0, 2**bits, (HEIGHT, WIDTH))
    (tmp_path / "a.tif").write_bytes(tiff(WIDTH, HEIGHT, packed(values, bits), bits=bits))
    read = values_of(tmp_path / "a.tif")
    assert read.kind == (f"uint{bits}" if bits > 8 else "8-bit")
    expected = values if bits > 8 else np.rint(values * 255 / (2**bits - 1))
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], expected)
    (tmp_path / "negative.tif").write_bytes(tiff(WIDTH, HEIGHT, packed(2**bits - 1 - values, bits), bits=bits, t262=0))
    np.testing.assert_array_equal(values_of(tmp_path / "negative.tif").pixels_HWP, read.pixels_HWP)


def test_one_bit_is_black_and_white(tmp_path):
    flags = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    tifffile.imwrite(tmp_path / "a.tif", flags, photometric="minisblack")
    read = values_of(tmp_path / "a.tif")
    assert read.kind == "8-bit"
    np.testing.assert_array_equal(read.pixels_HWP[..., 0], flags * 255)


@pytest.mark.parametrize("mode", ["L", "RGB", "I;16", "F", "RGBA", "1"])
def test_lzw(tmp_path, mode):
    ramp = np.linspace(0, 250, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)
    image = Image.fromarray(ramp.astype(np.uint16 if mode == "I;16" else np.uint8)).convert(mode)
    image.save(tmp_path / "a.tif", compression="tiff_lzw")
    image.save(tmp_path / "b.tif")
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP, values_of(tmp_path / "b.tif").pixels_HWP)


@pytest.mark.parametrize("content", ["noise", "flat", "ramp"])
def test_lzw_of_more_than_one_table(tmp_path, content):
    rng = np.random.default_rng(0)
    image = {
        "noise": rng.integers(0, 256, (200, 301)),
        "flat": np.full((200, 301), 7),
        "ramp": np.indices((200, 301))[1],
    }
    pixels = image[content].astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.tif", compression="tiff_lzw", strip_size=2**20)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP[..., 0], pixels)


def deflated_differences(values: np.ndarray) -> bytes:
    """What editors write of floats: the bytes of a row, most significant first, as differences; deflated."""
    rows = np.ascontiguousarray(values.astype(">f4")).view(np.uint8).reshape(len(values), -1, 4).transpose(0, 2, 1)
    flat = rows.reshape(len(values), -1)
    return zlib.compress(np.diff(flat, axis=1, prepend=np.uint8(0)).astype(np.uint8).tobytes())


@pytest.mark.parametrize("order", ["little", "big"])
def test_floats_as_differences(tmp_path, order):
    values = numbers("f4", HEIGHT, WIDTH)
    content = tiff(WIDTH, HEIGHT, deflated_differences(values), bits=32, order=order, t259=8, t317=3, t339=3)
    (tmp_path / "a.tif").write_bytes(content)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP[..., 0], values)


@pytest.mark.parametrize(("mode", "subsampling"), [("L", 0), ("RGB", 0), ("RGB", 2)])
def test_jpeg_in_tiff(tmp_path, mode, subsampling):
    pixels = np.tile(np.linspace(0, 255, 48, dtype=np.uint8), (32, 1))
    color = np.stack([pixels, pixels[::-1], 255 - pixels], -1)
    image = Image.fromarray(color).convert(mode)
    image.save(tmp_path / "a.tif", compression="jpeg", quality=95)
    decoded = values_of(tmp_path / "a.tif").pixels_HWP.astype(int)
    assert np.abs(decoded - np.asarray(image).reshape(32, 48, -1)).max() <= 40
    assert np.abs(decoded - np.asarray(image).reshape(32, 48, -1)).mean() <= 4


@pytest.mark.parametrize("compression", ["group3", "group4", "tiff_ccitt"])
@pytest.mark.parametrize("white_is_zero", [False, True])
def test_fax(tmp_path, compression, white_is_zero):
    flags = np.random.default_rng(0).random((HEIGHT, WIDTH)) < 0.5
    image, tags = Image.fromarray(flags), {262: 0 if white_is_zero else 1}
    image.save(tmp_path / "a.tif", compression=compression, tiffinfo=tags)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP[..., 0], flags * 255)


@pytest.mark.parametrize("compression", ["zstd", "lzma", "packbits", "lerc", "jpeg2000", "webp"])
def test_other_compressions_that_lose_nothing(tmp_path, compression):
    image = numbers("u1", HEIGHT, WIDTH, 3)
    options = {"compressionargs": {"lossless": True}} if compression == "webp" else {}
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", compression=compression, **options)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP, image)


@pytest.mark.parametrize(("method", "name"), [(32809, "THUNDERSCAN"), (9999, "method 9999")])
def test_a_compression_that_is_not_read_is_named(tmp_path, method, name):
    (tmp_path / "a.tif").write_bytes(tiff(8, 8, bytes(20), t259=method))
    with pytest.raises(ImageError, match=rf"a\.tif: compressed by {name}, which is not read: ") as caught:
        values_of(tmp_path / "a.tif")
    assert caught.value.kind == "no decoder"


# ---- colors ---------------------------------------------------------------------------------------------------------


def test_a_palette_gives_its_colors(tmp_path):
    indices = np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).astype(np.uint8)
    colors = np.random.default_rng(0).integers(0, 256, (3, 256)).astype(np.uint16)
    for scale, name in ((257, "wide.tif"), (1, "narrow.tif")):
        tifffile.imwrite(tmp_path / name, indices, photometric="palette", colormap=colors * scale)
        read = values_of(tmp_path / name)
        assert read.kind == "8-bit"
        np.testing.assert_array_equal(read.pixels_HWP, np.moveaxis(colors[:, indices], 0, 2))


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_ink_becomes_light(tmp_path, kind):
    white = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    ink = (np.array([[[0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0.2, 0.4, 0.2]]]) * white).astype(kind)
    tifffile.imwrite(tmp_path / "a.tif", ink, photometric="separated")
    light = values_of(tmp_path / "a.tif").pixels_HWP / white
    np.testing.assert_allclose(light[0], [[1, 1, 1], [0, 1, 1], [0, 0, 0], [0.8, 0.64, 0.48]], atol=1 / 255)


@pytest.mark.parametrize("kind", ["u1", "u2", "f4"])
def test_transparency_lies_over_black(tmp_path, kind):
    white = {"u1": 255, "u2": 65535, "f4": 1}[kind]
    rgba = (np.array([[[1, 0.5, 0.25, 1], [1, 0.5, 0.25, 0.5], [1, 1, 1, 0]]]) * white).astype(kind)
    for extra, half in (("unassalpha", [0.5, 0.25, 0.125]), ("assocalpha", [1, 0.5, 0.25])):
        tifffile.imwrite(tmp_path / "a.tif", rgba, photometric="rgb", extrasamples=[extra])
        light = values_of(tmp_path / "a.tif").pixels_HWP / white
        assert light.shape == (1, 3, 3)
        np.testing.assert_allclose(light[0, 1], half, atol=1 / 255)
    grey = np.ascontiguousarray(rgba[..., 2:])
    tifffile.imwrite(
        tmp_path / "a.tif", grey, photometric="minisblack", planarconfig="contig", extrasamples=["unassalpha"]
    )
    assert values_of(tmp_path / "a.tif").pixels_HWP.shape == (1, 3, 1)


def test_samples_beyond_color_are_bands_or_said(tmp_path):
    image = numbers("u2", HEIGHT, WIDTH, 5)
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extrasamples=["unspecified"] * 2)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif", 5).pixels_HWP, image)
    read = values_of(tmp_path / "a.tif", 3)
    np.testing.assert_array_equal(read.pixels_HWP, image[..., :3])
    assert [note.kind for note in read.notes] == ["extra samples"]
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif", 2, planes=[4, 0]).pixels_HWP, image[..., [4, 0]])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_undone_as_pillow_does(tmp_path, orientation):
    image = numbers("u1", HEIGHT, WIDTH, 3)
    Image.fromarray(image).save(tmp_path / "a.png", exif=_exif(orientation))
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", extratags=[(274, 3, 1, orientation, True)])
    np.testing.assert_array_equal(decoded_file(tmp_path / "a.tif"), decoded_file(tmp_path / "a.png"))


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize(
    ("photometric", "message"), [(8, "CIE Lab"), (32803, "raw mosaic"), (999, "colors of kind 999")]
)
def test_colors_that_are_not_read_are_named(tmp_path, photometric, message):
    samples = 3 if photometric == 8 else 1
    (tmp_path / "a.tif").write_bytes(tiff(4, 4, bytes(16 * samples), samples=samples, t262=photometric))
    with pytest.raises(ImageError, match=rf"a\.tif: .*{message}"):
        values_of(tmp_path / "a.tif")


# ---- pages ----------------------------------------------------------------------------------------------------------


def written(path: Path, *pages: np.ndarray, **options: object) -> Path:
    with tifffile.TiffWriter(path) as file:
        for page in pages:
            file.write(page, contiguous=False, metadata=None, **options)
    return path


def test_a_stack_of_pages_is_a_cube(tmp_path):
    pages = numbers("u2", 6, HEIGHT, WIDTH)
    path = written(tmp_path / "a.tif", *pages)
    np.testing.assert_array_equal(values_of(path, 6).pixels_HWP, np.moveaxis(pages, 0, 2))
    np.testing.assert_array_equal(values_of(path, planes=[5, 0, 2]).pixels_HWP, np.moveaxis(pages[[5, 0, 2]], 0, 2))
    for collapse in ("mean", "median", "max"):
        read = values_of(path, collapse=collapse)
        assert read.kind == "uint16"
        assert read.pixels_HWP.dtype == np.uint16
        np.testing.assert_array_equal(read.pixels_HWP[..., 0], np.rint(getattr(np, collapse)(pages, axis=0)))
    with pytest.raises(ImageError, match=r"no plane 6 \(dataset\.planes\); the image has 6"):
        values_of(path, planes=[6])


def test_pages_of_which_only_the_first_has_a_directory(tmp_path):
    pages = numbers("u2", 5, HEIGHT, WIDTH)
    tifffile.imwrite(tmp_path / "imagej.tif", pages, imagej=True)
    tifffile.imwrite(tmp_path / "short.tif", pages, metadata={"axes": "ZYX"}, photometric="minisblack", truncate=True)
    for name in ("imagej.tif", "short.tif"):
        np.testing.assert_array_equal(values_of(tmp_path / name, 5).pixels_HWP, np.moveaxis(pages, 0, 2))


def test_thumbnails_levels_and_masks_are_no_pages(tmp_path):
    image = numbers("u1", 64, 64)
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(image[::2, ::2], subfiletype=1, metadata=None)
        file.write(image, metadata=None)
        file.write(image[::4, ::4], subfiletype=1, metadata=None)
    np.testing.assert_array_equal(values_of(tmp_path / "a.tif").pixels_HWP[..., 0], image)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(image, subifds=1, tile=(16, 16))
        file.write(image[::2, ::2], subfiletype=1, tile=(16, 16))
    np.testing.assert_array_equal(values_of(tmp_path / "pyramid.tif").pixels_HWP[..., 0], image)
    written(tmp_path / "only.tif", image, subfiletype=1)
    with pytest.raises(ImageError, match="no page holds an image of its own"):
        values_of(tmp_path / "only.tif")


def test_pages_that_make_no_one_image_are_never_the_first_in_silence(tmp_path):
    color, small = numbers("u1", HEIGHT, WIDTH, 3), numbers("u1", 9, 9)
    grey = numbers("u1", HEIGHT, WIDTH)
    for name, pages in {
        "colors": (color, color[::-1]),
        "sizes": (grey, small),
        "types": (grey, grey.astype(np.uint16)),
    }.items():
        path = written(tmp_path / f"{name}.tif", *pages, photometric="rgb" if name == "colors" else "minisblack")
        with pytest.raises(
            ImageError, match=rf"{name}\.tif: it has 2 pages of .* dataset\.planes, such as \[0\]"
        ) as caught:
            values_of(path)
        assert caught.value.kind == "wrong bands"
        read = values_of(path, planes=[1]).pixels_HWP
        np.testing.assert_array_equal(read, np.atleast_3d(pages[1]))


def test_no_other_file_is_read_for_what_a_description_says(tmp_path):
    ome = numbers("u1", 2, HEIGHT, WIDTH)
    tifffile.imwrite(tmp_path / "a.ome.tif", ome, ome=True, metadata={"axes": "CYX"}, photometric="minisblack")
    np.testing.assert_array_equal(values_of(tmp_path / "a.ome.tif", 2).pixels_HWP, np.moveaxis(ome, 0, 2))


# ---- damage ---------------------------------------------------------------------------------------------------------


def test_a_broken_list_of_pages_is_damage(tmp_path, capfd):
    path = written(tmp_path / "a.tif", *numbers("u1", 3, HEIGHT, WIDTH))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        second = file.pages[1].offset
    place = bytes(content).index(second.to_bytes(4, "little"))
    content[place : place + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.tif: damaged: .*invalid page offset"):
        values_of(path)
    assert capfd.readouterr() == ("", "")


def test_a_strip_that_is_not_there_is_not_black(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", np.full((8, 8), 9, np.uint8), rowsperstrip=4)
    with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as file:
        file.pages[0].tags["StripByteCounts"].overwrite((32, 0))
    with pytest.raises(ImageError, match=r"a\.tif: incomplete"):
        values_of(tmp_path / "a.tif")


def test_a_changed_bit_of_deflated_pixels_is_noticed(tmp_path):
    image = numbers("u1", 64, 64)
    tifffile.imwrite(tmp_path / "a.tif", image, compression="zlib")
    whole = (tmp_path / "a.tif").read_bytes()
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        start, length = file.pages[0].dataoffsets[0], file.pages[0].databytecounts[0]
    for place in range(start, start + length, 97):
        changed = bytearray(whole)
        changed[place] ^= 16
        (tmp_path / "b.tif").write_bytes(changed)
        with pytest.raises(ImageError, match=r"b\.tif: damaged"):
            values_of(tmp_path / "b.tif")


def test_what_tifffile_remarks_names_the_file_and_reaches_no_log(tmp_path, capfd, caplog):
    content = tiff(4, 4, bytes(range(16)), t42113=0x01020304)  # a number where GDAL writes text
    (tmp_path / "a.tif").write_bytes(content)
    read = values_of(tmp_path / "a.tif")
    assert [note.kind for note in read.notes] == ["remark"]
    assert str(tmp_path / "a.tif") in read.notes[0].message
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    logging.getLogger("tifffile").warning("of somebody else's file")
    assert [record.message for record in caplog.records] == ["of somebody else's file"]


def test_a_tiff_under_another_name_is_read(tmp_path):
    image = numbers("u2", HEIGHT, WIDTH)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, image)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    np.testing.assert_array_equal(values_of(tmp_path / "a.png").pixels_HWP[..., 0], image)
