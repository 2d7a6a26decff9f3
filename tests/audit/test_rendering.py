"""The second look at a file: the same picture by other code than the decoder's."""

from __future__ import annotations

import ast
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.audit import rendering
from astroclf.audit.rendering import render_source
from astroclf.data.catalog import Source

# Bright at the top left, a little less at the top right: any flip, turn or swapped axis shows.
CORNER = np.zeros((12, 20), np.float32)
CORNER[:4, :6], CORNER[:4, 14:] = 1.0, 0.5
COLORS = np.stack([CORNER, CORNER[:, ::-1], CORNER[::-1]], axis=-1)


def drawn(path: Path, **where) -> rendering.Rendering:
    (shown,) = render_source(Source((path,), **where))
    return shown


def as_unit(image_HWC: np.ndarray) -> np.ndarray:
    return image_HWC.mean(axis=2) / 255


@pytest.mark.parametrize("name", ["a.fits", "a.fits.gz"])
@pytest.mark.parametrize("shape", [(12, 20), (1, 1, 12, 20), (12, 20, 1)])
def test_fits_has_its_first_row_at_the_bottom(tmp_path, name, shape):
    noise = np.random.default_rng(0).normal(0, 0.01, (12, 20)).astype(np.float32)
    fits.PrimaryHDU((CORNER + noise)[::-1].reshape(shape)).writeto(tmp_path / name)
    shown = drawn(tmp_path / name)
    assert shown.words == "ZScale"
    assert as_unit(shown.image_HWC)[:4, :6].min() > 0.9
    assert as_unit(shown.image_HWC)[4:].max() < 0.2


def test_of_a_cube_the_middle_plane_is_taken_and_three_planes_are_colors(tmp_path):
    cube = np.random.default_rng(0).normal(0, 0.01, (5, 12, 20))
    cube[2] += CORNER
    fits.PrimaryHDU(cube).writeto(tmp_path / "cube.fits")
    shown = drawn(tmp_path / "cube.fits")
    assert shown.words == "plane 2 of 5, ZScale"
    assert as_unit(shown.image_HWC)[8:, :6].min() > 0.9
    fits.PrimaryHDU(np.moveaxis(COLORS, 2, 0)).writeto(tmp_path / "color.fits")
    assert drawn(tmp_path / "color.fits").image_HWC.shape == (12, 20, 3)


@pytest.mark.parametrize(
    ("pixels", "options"),
    [
        (CORNER, {}),
        ((CORNER * 65535).astype(np.uint16), {}),
        ((CORNER * 4e9).astype(np.uint32), {"bigtiff": True}),
        (65535 - (CORNER * 65535).astype(np.uint16), {"photometric": "miniswhite"}),
        (CORNER.astype(np.float16), {}),
    ],
)
def test_tiff_of_any_numbers_shows_the_same(tmp_path, pixels, options):
    tifffile.imwrite(tmp_path / "a.tif", pixels, **options)
    np.testing.assert_allclose(as_unit(drawn(tmp_path / "a.tif").image_HWC), CORNER, atol=0.01)


def test_colors_in_planes_and_in_pixels_are_the_same_and_pages_are_told(tmp_path):
    pixels = (COLORS * 65535).astype(np.uint16)
    tifffile.imwrite(tmp_path / "pixels.tif", pixels, photometric="rgb")
    tifffile.imwrite(tmp_path / "planes.tif", np.moveaxis(pixels, 2, 0), photometric="rgb", planarconfig="separate")
    for name in ("pixels.tif", "planes.tif"):
        np.testing.assert_allclose(drawn(tmp_path / name).image_HWC / 255, COLORS, atol=0.01)
    tifffile.imwrite(tmp_path / "pages.tif", np.stack([CORNER * 0, CORNER, CORNER * 0]), photometric="minisblack")
    shown = drawn(tmp_path / "pages.tif")
    assert shown.words.startswith("page 2 of 3")
    np.testing.assert_allclose(as_unit(shown.image_HWC), CORNER, atol=0.01)


def test_pictures_and_arrays(tmp_path):
    Image.fromarray((COLORS * 255).astype(np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_allclose(drawn(tmp_path / "a.png").image_HWC / 255, COLORS, atol=0.01)
    Image.fromarray((CORNER * 4095).astype(np.uint16)).save(tmp_path / "b.png")
    np.testing.assert_allclose(as_unit(drawn(tmp_path / "b.png").image_HWC), CORNER, atol=0.01)
    np.save(tmp_path / "c.npy", np.moveaxis(COLORS, 2, 0))
    np.testing.assert_allclose(drawn(tmp_path / "c.npy").image_HWC / 255, COLORS, atol=0.01)
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file["images"] = np.stack([COLORS * 0, COLORS])
    np.testing.assert_allclose(drawn(tmp_path / "d.h5", row=1, array="images").image_HWC / 255, COLORS, atol=0.01)


def test_what_is_too_large_or_no_image_is_an_error_before_it_is_read(tmp_path, monkeypatch):
    np.save(tmp_path / "flat.npy", np.arange(10.0))
    with pytest.raises(ValueError, match="10 values are no image"):
        drawn(tmp_path / "flat.npy")
    monkeypatch.setattr(rendering, "MAX_VALUES", 100)
    fits.PrimaryHDU(CORNER).writeto(tmp_path / "a.fits")
    with pytest.raises(ValueError, match="12 x 20 is too large"):
        drawn(tmp_path / "a.fits")


def test_it_shares_no_code_with_the_decoder():
    tree = ast.parse(Path(rendering.__file__).read_text(encoding="utf-8"))
    imported = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    assert not [name for name in imported if name.startswith("astroclf.data.") and name != "astroclf.data.catalog"]
