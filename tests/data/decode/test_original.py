"""What a sample is, whatever it is prepared to: digests of source and numbers, and the thumbnail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.data.decode.images import read_values
from astroclf.data.decode.original import array_digest, as_it_is, file_digest, pixel_digest, thumbnail
from astroclf.data.decode.values import FITS, Values, numbers
from astroclf.data.split.links import near_duplicates
from tests.data.decode.pictures import reading


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def test_the_digest_of_a_file_is_of_its_bytes_and_of_nothing_else(tmp_path):
    one, same, other = (written(tmp_path / name, text) for name, text in (("a", b"12"), ("b", b"12"), ("c", b"13")))
    assert file_digest([one]) == file_digest([same]) != file_digest([other])
    assert file_digest([one, other]) == file_digest([other, same]) != file_digest([one])


def test_the_digest_of_a_row_knows_its_type_and_shape():
    row = np.arange(12, dtype=np.uint8).reshape(2, 6)
    assert len({array_digest(each) for each in (row, row.reshape(3, 4), row.view(np.int8), row + 1)}) == 4
    assert array_digest(row) == array_digest(np.stack([row, row])[1])


def test_the_numbers_are_the_same_in_whatever_kind_of_file(tmp_path):
    color = np.random.default_rng(0).integers(0, 256, (12, 18, 3), np.uint8)
    Image.fromarray(color).save(tmp_path / "a.png")
    Image.fromarray(color).save(tmp_path / "b.png", compress_level=1)
    tifffile.imwrite(tmp_path / "c.tif", np.moveaxis(color, 2, 0), photometric="rgb", planarconfig="separate")
    np.save(tmp_path / "d.npy", color)
    files = sorted(tmp_path.iterdir())
    assert len({file_digest([path]) for path in files}) == 4
    assert len({pixel_digest(read_values(path, reading())) for path in files}) == 1
    grey = np.ascontiguousarray(color[..., 0])
    Image.fromarray(grey).save(tmp_path / "grey.png")
    tifffile.imwrite(tmp_path / "grey.tif", grey)
    digests = {pixel_digest(read_values(tmp_path / name, reading())) for name in ("grey.png", "grey.tif")}
    assert len(digests) == 1


def test_a_header_changes_the_file_and_not_its_numbers(tmp_path):
    flux = np.random.default_rng(0).normal(0, 1, (10, 10)).astype(np.float32)
    for name in "ab":
        fits.writeto(tmp_path / f"{name}.fits", flux, fits.Header({"OBSERVER": name}))
    one, other = tmp_path / "a.fits", tmp_path / "b.fits"
    assert file_digest([one]) != file_digest([other])
    assert pixel_digest(read_values(one, reading())) == pixel_digest(read_values(other, reading()))


def test_what_is_chosen_of_a_file_is_not_what_it_is():
    chosen = reading(hdu=[1, 2, 3], crop=50, collapse="max", checksum=False)
    assert as_it_is(chosen) == reading(checksum=False)
    assert as_it_is(reading(planes=[3])) == reading()


# ---- thumbnails -----------------------------------------------------------------------------------------------------


def sparse(seed: int, side: int = 100) -> np.ndarray:
    """Noise with a point source in the middle, of which all radio images have one."""
    noise = np.random.default_rng(seed).normal(0, 1, (side, side))
    noise[side // 2 : side // 2 + 3, side // 2 : side // 2 + 3] += 500
    return noise.astype(np.float32)


def small(pixels: np.ndarray, kind: str = FITS) -> np.ndarray:
    return thumbnail(Values(pixels if pixels.ndim == 3 else pixels[..., None], kind))


def test_sparse_images_are_told_apart_by_their_noise_and_their_copies_are_found():
    fields = [sparse(seed) for seed in range(8)]
    copies = [3.5 * fields[0] + 2, np.rot90(fields[1]), np.roll(fields[2], 2, axis=1), fields[3].astype(np.float64)]
    pairs = near_duplicates(np.stack([small(field) for field in [*fields, *copies]]))
    assert pairs.rows.tolist() == [[0, 8], [1, 9], [2, 10], [3, 11]]


@pytest.mark.parametrize("peak", [10, 1e3, 1e5])
def test_bright_stars_of_one_shape_are_no_copies(peak):
    rows, columns = np.indices((64, 64)) - 31.5
    star = peak * (1 + (rows**2 + columns**2) / 6) ** -3.0
    rng = np.random.default_rng(0)
    stars = [small(star * rng.uniform(0.7, 1.4) + rng.normal(0, 1, star.shape)) for _ in range(8)]
    assert not len(near_duplicates(np.stack(stars)).rows)


def test_numbers_in_another_unit_give_the_same_thumbnail():
    field = sparse(0).astype(np.float64)
    assert np.abs(small(field).astype(int) - small(1e-6 * field - 3)).max() <= 1
    many = np.stack([field, 1000 * field, np.full_like(field, np.nan)], axis=2)
    assert np.abs(small(field).astype(int) - small(many)).max() <= 1  # each band by itself


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_nothing_to_be_seen_gives_black(value):
    assert not small(np.full((30, 40), value, np.float32)).any()


def test_unknown_pixels_and_long_sides_make_no_difference_to_the_rest():
    field = np.kron(sparse(0), np.ones((30, 30), np.float32))  # 3,000 pixels: every second one is looked at
    holed = field.copy()
    holed[:5] = np.nan
    holed[-5:] = np.inf
    assert np.abs(small(holed)[2:-2].astype(int) - small(field)[2:-2]).max() <= 1


def test_8_bit_pictures_are_shown_as_they_are():
    picture = np.random.default_rng(0).integers(100, 110, (64, 64, 1), np.uint8)
    np.testing.assert_array_equal(thumbnail(numbers(picture)), picture[..., 0])
