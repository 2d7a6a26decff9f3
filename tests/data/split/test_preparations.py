"""The same data set, prepared in many ways: the same samples are trained on, validated on and tested on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.data.catalog import DatasetReader
from astroclf.data.readers.arrays import Arrays
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.data.split.links import find_links
from astroclf.data.split.splits import SplitResult, make_splits
from astroclf.settings.dataset import SplitSettings
from tests.data.decode.pictures import reading
from tests.settings.defaults import default

EACH = 12


def field(seed: int, *shape: int) -> np.ndarray:
    """Noise, with a gradient along the columns, about 1,000."""
    return 1000 + 30 * np.random.default_rng(seed).normal(0, 1, shape) + np.linspace(0, 200, shape[-1])


def split(reader: DatasetReader, cache_dir: Path) -> SplitResult:
    cache = open_image_cache(reader, cache_dir, progress=False)
    links = find_links(cache, near=True, sky_arcsec=None, progress=False)
    return make_splits(cache.catalog, cache.digests, links, default(SplitSettings, val_fraction=0.2, test_fraction=0.3))


def assert_all_the_same(readers: list[DatasetReader], tmp_path: Path) -> None:
    results = [split(reader, tmp_path / "cache") for reader in readers]
    assert len({reader.fingerprint() for reader in readers}) == len(readers)  # each is decoded to pixels of its own
    for result in results[1:]:
        assert result.splits.fingerprints == results[0].splits.fingerprints
        assert result.groups.tolist() == results[0].groups.tolist()
        for name in ("train", "val", "test"):
            rows = [each.catalog.ids[getattr(each.splits, name)].tolist() for each in (result, results[0])]
            assert rows[0] == rows[1]
    assert len(np.unique(results[0].groups)) < len(results[0].groups)  # copies were planted, and found


def test_files_of_every_kind(tmp_path):
    """Pictures, 16-bit TIFF, FITS images of three HDUs, and copies of each whose frame another crop would lose."""
    for label, name in enumerate(("smooth", "spiral")):
        folder = tmp_path / "sky" / name
        folder.mkdir(parents=True)
        for number in range(EACH):
            seed = 100 * label + number
            wide = field(seed, 3, 40, 56)
            planes = [wide[0], wide[1] ** 2, 1e6 - wide[2]]
            hdus = [fits.PrimaryHDU(), *(fits.ImageHDU(plane.astype(np.float32)) for plane in planes)]
            fits.HDUList(hdus).writeto(folder / f"{number}.fits")
            if number < 2:  # its copy, turned
                turned = [fits.ImageHDU(np.rot90(hdu.data).copy()) for hdu in hdus[1:]]
                fits.HDUList([fits.PrimaryHDU(), *turned]).writeto(folder / f"{number}-turned.fits")
            tifffile.imwrite(folder / f"{number}.tif", wide[0].astype(np.uint16))
            Image.fromarray((wide[0] / 6).astype(np.uint8)).save(folder / f"{number}.png")

    def folder_of(size: int = 16, channels: int = 3, **keys: Any) -> ClassFolder:
        return ClassFolder(tmp_path / "sky", "found", size, channels=channels, reading=reading(**keys))

    assert_all_the_same(
        [
            folder_of(),
            folder_of(24),
            folder_of(channels=1),
            folder_of(crop=20),
            folder_of(interval="minmax", stretch="linear"),
            folder_of(hdu=3),
            folder_of(hdu=2, planes=[0], crop=30, collapse="max"),
        ],
        tmp_path,
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_arrays(tmp_path, dtype):
    images = np.stack([field(row, 4, 20, 24) for row in range(2 * EACH)])
    images = np.moveaxis(images / (6 if dtype == np.uint8 else 1), 1, 3).astype(dtype)
    images[3] = images[1, ::-1]
    arrays = tmp_path / "arrays.npz"
    np.savez(arrays, images=images, labels=np.arange(2 * EACH) % 2)
    kinds = [
        {"channels": 4},
        {"channels": 4, "image_size": 12},
        {"channels": 4, "reading": reading(crop=15, interval="minmax")},
        {"channels": 1},
        {"reading": reading(planes=[2, 1, 0])},
    ]
    assert_all_the_same([Arrays(arrays, **{"image_size": 16, **kind}) for kind in kinds], tmp_path)


def test_galaxy10_in_either_form(tmp_path):
    images = np.stack([field(row, 20, 20, 3) / 6 for row in range(40)]).astype(np.uint8)
    images[13] = images[3]
    labels = (np.arange(40) % 10).astype(np.uint8)
    with h5py.File(tmp_path / "galaxies.h5", "w") as file:
        file["images"], file["ans"] = images, labels
    (tmp_path / "pair").mkdir()
    np.save(tmp_path / "pair" / "images.npy", images)
    np.save(tmp_path / "pair" / "labels.npy", labels)
    forms = [(tmp_path / "galaxies.h5", {}), (tmp_path / "galaxies.h5", {"channels": 1}), (tmp_path / "pair", {})]
    assert_all_the_same([Galaxy10(path, 16, **options) for path, options in forms], tmp_path)
