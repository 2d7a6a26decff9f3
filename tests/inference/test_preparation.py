"""A trained model sees a file just as its training saw it: pixel for pixel."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from PIL import Image

from astroclf.data.readers.arrays import Arrays
from astroclf.data.readers.folder import ClassFolder
from astroclf.errors import ImageError
from astroclf.inference.preparation import Preparation
from astroclf.inference.spec import read_spec
from astroclf.settings.reading import ReadSettings
from tests.tiny import write_tiny_package


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of every kind of numbers, in two classes."""
    folder, rng = tmp_path_factory.mktemp("kinds"), np.random.default_rng(0)
    for name in ("a", "b"):
        (folder / name).mkdir()
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / name / "color.png")
        Image.fromarray(rng.integers(0, 256, (33, 20), dtype=np.uint8)).save(folder / name / "grey.jpg")
        tifffile.imwrite(folder / name / "deep.tif", rng.integers(0, 4000, (48, 48), dtype=np.uint16))
        fits.writeto(folder / name / "flux.fits", rng.normal(100, 5, (40, 40)).astype(np.float32))
        np.save(folder / name / "unit.npy", rng.random((36, 36, 3)))
    return folder


@pytest.mark.parametrize("channels", [1, 3])
def test_it_gives_the_pixels_of_training(folder: Path, channels: int, tmp_path: Path, tiny_backbone: type) -> None:
    reader = ClassFolder(folder, ["a", "b"], 32, channels=channels)
    tones = reader.decide_tones(1)
    trained_on = reader.read(range(len(reader.catalog)))
    package = write_tiny_package(
        tmp_path / "model", channels=channels, reading=reader.reading.to_plain(), tones=tones,
        augment={"reference_size": 32, "color": "before_geometry", "blur_sigma": [0.1, 2], "mean": 0.5, "std": 0.5},
    )  # fmt: skip
    preparation = Preparation(read_spec(package))
    for row, name in enumerate(reader.catalog.ids):
        np.testing.assert_array_equal(preparation.file(folder / name), trained_on.images_BHWC[row], err_msg=name)


def test_numbers_that_the_model_never_learned_are_refused(folder: Path, tiny_package: Path) -> None:
    preparation = Preparation(read_spec(tiny_package))
    assert preparation.file(folder / "a" / "color.png").shape == (32, 32, 3)
    with pytest.raises(ImageError, match=r"deep\.tif: holds uint16 numbers, and the model learned from 8-bit pictures"):
        preparation.file(folder / "a" / "deep.tif")
    with pytest.raises(ImageError, match="night 3: holds float numbers"):
        preparation.array(np.random.default_rng(0).random((20, 20)), "night 3")


def test_pictures_are_refused_by_a_model_of_other_numbers_unless_it_was_trained_on_both(
    folder: Path, tmp_path: Path, tiny_backbone: type
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    for name in ("a", "b"):
        shutil.copy(folder / name / "flux.fits", tmp_path / name)
    picture, pixels = folder / "a" / "color.png", np.arange(1200, dtype=np.uint8).reshape(20, 20, 3)

    def ways(preparation: Preparation) -> list[Callable[[], np.ndarray]]:
        return [
            lambda: preparation.file(picture), lambda: preparation.file(folder / "a" / "grey.jpg"),
            lambda: preparation.encoded(picture.read_bytes(), "x"), lambda: preparation.array(pixels, "x"),
            lambda: preparation.picture(Image.fromarray(pixels), "x"), lambda: preparation.array(pixels > 100, "x"),
        ]  # fmt: skip

    def trained_on(name: str) -> Preparation:
        tones = ClassFolder(tmp_path, ["a", "b"], 32).decide_tones(1)
        return Preparation(read_spec(write_tiny_package(tmp_path / name, tones=tones)))

    preparation = trained_on("model")
    assert preparation.kinds == {"FITS"}
    for way in ways(preparation):
        with pytest.raises(ImageError, match="is an 8-bit picture, and the model learned from FITS files") as refused:
            way()
        assert refused.value.kind == "no rule"
    with pytest.raises(ImageError, match=r"holds float numbers, .* becomes an HDU by astropy\.io\.fits\.PrimaryHDU"):
        preparation.array(np.random.default_rng(0).random((20, 20)), "x")
    shutil.copy(picture, tmp_path / "a" / "color.png")  # one among the training's files
    for way in ways(trained_on("mixed")):
        assert way().shape == (32, 32, 3)


def test_what_is_no_image_is_refused(tiny_package: Path) -> None:
    preparation = Preparation(read_spec(tiny_package))
    with pytest.raises(ImageError, match=r"x: uint8 of shape \(3,\) is no image"):
        preparation.array(np.zeros(3, np.uint8), "x")
    with pytest.raises(ImageError, match="its numbers give 5 bands"):
        preparation.array(np.zeros((20, 20, 5), np.uint8), "x")
    with pytest.raises(ImageError, match="x: the image is constant"):
        preparation.array(np.full((20, 20, 3), 7, np.uint8), "x")


def test_an_image_in_memory_gives_the_pixels_of_its_file(folder: Path, tmp_path: Path, tiny_backbone: type) -> None:
    reader = ClassFolder(folder, ["a", "b"], 32)
    package = write_tiny_package(
        tmp_path / "model", reading=reader.reading.to_plain(), tones=reader.decide_tones(1)
    )  # fmt: skip
    preparation = Preparation(read_spec(package))
    for name in ("color.png", "grey.jpg", "deep.tif", "flux.fits", "unit.npy"):
        expected = preparation.file(folder / "a" / name)
        given = preparation.encoded((folder / "a" / name).read_bytes(), "sent")
        np.testing.assert_array_equal(given, expected, err_msg=name)
    for name in ("color.png", "grey.jpg"):
        with Image.open(folder / "a" / name) as picture:
            np.testing.assert_array_equal(preparation.picture(picture, "x"), preparation.file(folder / "a" / name))
    with fits.open(folder / "a" / "flux.fits") as hdus:
        np.testing.assert_array_equal(preparation.hdu(hdus[0], "x"), preparation.file(folder / "a" / "flux.fits"))
    np.testing.assert_array_equal(
        preparation.array(tifffile.imread(folder / "a" / "deep.tif"), "x"), preparation.file(folder / "a" / "deep.tif")
    )


@pytest.mark.parametrize("kind", ["npz", "hdf5"])
@pytest.mark.parametrize(("stored", "changes"), [
    (np.uint8, {}), (np.uint16, {}), (np.float16, {}), (bool, {}), (np.uint8, {"planes": [4, 1, 0]}),
    (np.float32, {"crop": 24}),
])  # fmt: skip
def test_rows_of_arrays_give_the_pixels_of_training(
    kind: str, stored: type, changes: dict, tmp_path: Path, tiny_backbone: type
) -> None:
    bands = 5 if "planes" in changes else 3
    images = (np.random.default_rng(0).random((6, 40, 36, bands)) * 250).astype(stored)
    if stored is bool:
        images = np.random.default_rng(0).random((6, 40, 36, bands)) > 0.5
    labels = np.array([0, 1] * 3)
    if kind == "npz":
        np.savez(tmp_path / "all.npz", images=images, labels=labels)
    else:
        with h5py.File(tmp_path / "all.hdf5", "w") as file:
            file["images"], file["labels"] = images, labels
    reading = ReadSettings.from_plain(ReadSettings.with_defaults().to_plain() | changes)
    reader = Arrays(tmp_path / f"all.{kind}", 32, reading=reading)
    tones = reader.decide_tones(1)
    trained_on = reader.read(range(6)).images_BHWC
    package = write_tiny_package(tmp_path / "model", reading=reading.to_plain(), tones=tones)
    preparation = Preparation(read_spec(package))
    for row, image in enumerate(images):
        np.testing.assert_array_equal(preparation.array(image, "x"), trained_on[row])


def test_bands_in_several_files_give_the_pixels_of_training(tmp_path: Path, tiny_backbone: type) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "bands"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for band in "gri":
            fits.writeto(folder / name / f"one-{band}.fits", rng.normal(100, 5, (40, 40)).astype(np.float32))
    patterns = [f"{{id}}-{band}.fits" for band in "gri"]
    plain = ReadSettings.with_defaults().to_plain()
    reading = ReadSettings.from_plain(plain | {"fits": plain["fits"] | {"files": patterns}})
    reader = ClassFolder(folder, ["a", "b"], 32, reading=reading)
    tones = reader.decide_tones(1)
    trained_on = reader.read(range(2)).images_BHWC
    preparation = Preparation(
        read_spec(write_tiny_package(tmp_path / "model", reading=reading.to_plain(), tones=tones))
    )
    for row, name in enumerate(("a", "b")):
        paths = [folder / name / f"one-{band}.fits" for band in "gri"]
        np.testing.assert_array_equal(preparation.band_files(paths, "x"), trained_on[row])
    with pytest.raises(ImageError, match="takes its bands from several"):
        preparation.hdu(fits.PrimaryHDU(np.zeros((40, 40))), "x")
