"""Whatever holds an image in Python gives the answer that its pixels give, a row for each, in order."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from PIL import Image

from astroclf.data.decode.tone import decide_tones
from astroclf.data.decode.values import FITS, Values, array_numbers
from astroclf.errors import DataError
from astroclf.inference.predictor import Predictor
from astroclf.registry.package import load_package
from astroclf.settings.reading import ReadSettings
from tests.data.augment.recipes import recipe_values
from tests.tiny import write_tiny_package

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 40, 36, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def predictor(tiny_package: Path) -> Predictor:
    return load_package(tiny_package, device="cpu", precision="fp32")


def encoded(image: np.ndarray) -> bytes:
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    return content.getvalue()


def numbers(predictor: Predictor, given: Any) -> np.ndarray:
    return predictor.predict(given).filter(like="p_").to_numpy()


@pytest.mark.parametrize("form", [
    list, iter, lambda images: images.transpose(0, 3, 1, 2),
    lambda images: torch.from_numpy(images).permute(0, 3, 1, 2), torch.from_numpy,
    lambda images: [torch.from_numpy(image).permute(2, 0, 1) for image in images],
    lambda images: [Image.fromarray(image) for image in images],
    lambda images: [encoded(image) for image in images],
    lambda images: [images[0], encoded(images[1]), Image.fromarray(images[2]), images[3:]],
])  # fmt: skip
def test_the_same_pixels_get_the_same_answers_in_any_form(
    predictor: Predictor, form: Callable[[np.ndarray], Any]
) -> None:
    np.testing.assert_allclose(numbers(predictor, form(IMAGES)), numbers(predictor, IMAGES), atol=1e-6)


def test_paths_globs_and_folders_are_read(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "night").mkdir()
    paths = [tmp_path / "night" / f"{row}.png" for row in range(3)]
    for path, image in zip(paths, IMAGES, strict=False):
        path.write_bytes(encoded(image))
    expected = numbers(predictor, IMAGES[:3])
    for given in (paths, [str(path) for path in paths], tmp_path / "night", f"{tmp_path}/night/*.png", np.array(paths)):
        np.testing.assert_allclose(numbers(predictor, given), expected, atol=1e-6)
    with pytest.raises(DataError, match=r"image 0: .*gone\.png: there is neither a file nor a folder"):
        predictor.predict(tmp_path / "gone.png")


def test_tables_and_files_of_many_images_are_read_and_what_is_no_image_is_left_out(
    predictor: Predictor, tmp_path: Path
) -> None:
    for row, image in enumerate(IMAGES[:3]):
        (tmp_path / f"{row}.png").write_bytes(encoded(image))
    (tmp_path / "notes.txt").write_text("clouds")
    (tmp_path / "all.csv").write_text("path,z\n2.png,0.1\n0.png,0.2\n")
    np.savez(tmp_path / "stack.npz", images=IMAGES)
    expected = numbers(predictor, IMAGES)
    np.testing.assert_allclose(numbers(predictor, tmp_path / "all.csv"), expected[[2, 0]], atol=1e-6)
    np.testing.assert_allclose(numbers(predictor, tmp_path / "stack.npz"), expected, atol=1e-6)
    (tmp_path / "stack.npz").unlink()
    np.testing.assert_allclose(numbers(predictor, tmp_path), expected[:3], atol=1e-6)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: there is no image"):
        predictor.predict(tmp_path / "empty")


def test_bands_in_several_files_are_one_image(tmp_path: Path, tiny_backbone: type) -> None:
    reading = ReadSettings.with_defaults().to_plain()
    reading["fits"]["files"] = ["{id}-g.fits", "{id}-r.fits"]
    bands = np.random.default_rng(2).normal(100, 5, (2, 40, 40)).astype(np.float32)
    tones = decide_tones([Values(np.moveaxis(bands, 0, 2), FITS)], ReadSettings.with_defaults().tone)
    plain = {kind: tone.to_plain() for kind, tone in tones.items()}
    package = write_tiny_package(tmp_path / "model", channels=2, reading=reading, tones=plain,
                                 augment=recipe_values(mean=[0.4] * 2, std=[0.2] * 2))  # fmt: skip
    predictor = load_package(package, device="cpu")
    (tmp_path / "night").mkdir()
    paths = [tmp_path / "night" / f"a-{band}.fits" for band in "gr"]
    for path, band in zip(paths, bands, strict=True):
        fits.writeto(path, band)
    for given in (paths, tmp_path / "night", paths[0]):  # the name of one band tells those of the others
        assert len(predictor.predict(given)) == 1
    paths[1].unlink()
    with pytest.raises(DataError, match=r"a-r\.fits"):
        predictor.predict(tmp_path / "night")


def test_images_of_mixed_sizes_are_one_table(predictor: Predictor) -> None:
    mixed = [IMAGES[0], IMAGES[1, :20], IMAGES[2, :, :17, 0]]
    alone = np.concatenate([numbers(predictor, image) for image in mixed])
    np.testing.assert_allclose(numbers(predictor, mixed), alone, atol=1e-6)


def test_what_can_be_read_in_two_ways_is_refused(predictor: Predictor) -> None:
    with pytest.raises(DataError, match="3 grey images, or one whose 3 bands come first"):
        predictor.predict(np.zeros((3, 40, 40), np.uint8))
    with pytest.raises(DataError, match="bands first or last"):
        predictor.predict(torch.zeros(3, 40, 3, dtype=torch.uint8))
    assert len(predictor.predict(IMAGES[:5, ..., 0])) == 5, "no model has five bands: these are five grey images"


@pytest.mark.parametrize("given", [IMAGES / 255.0, torch.rand(2, 3, 40, 36), IMAGES.astype(np.uint16)])
def test_numbers_without_a_rule_are_refused_and_never_cut_off(predictor: Predictor, given: Any) -> None:
    with pytest.raises(DataError, match=r"image 0: holds (float|uint16) numbers, and the model learned from 8-bit"):
        predictor.predict(given)


def test_a_broken_item_raises_or_is_a_row_with_its_error(predictor: Predictor) -> None:
    given = [IMAGES[0], b"junk", None, np.zeros((3, 40, 40), np.uint8), IMAGES[1]]
    with pytest.raises(DataError, match="image 1: not a picture"):
        predictor.predict(given)
    table = predictor.predict(given, on_error="row", batch_size=2)
    assert table["error"].isna().tolist() == [True, False, False, False, True]
    assert "image 2: a NoneType is no image" in table["error"][2]
    np.testing.assert_allclose(
        table.filter(like="p_").iloc[[0, 4]].to_numpy(float), numbers(predictor, IMAGES[:2]), atol=1e-6
    )
    assert "error" not in predictor.predict(IMAGES)


def test_hdus_and_lists_of_them_are_read_as_their_file_is(tmp_path: Path, tiny_backbone: type) -> None:
    flux = np.random.default_rng(1).normal(100, 5, (40, 40)).astype(np.float32)
    tones = decide_tones([Values(flux[..., None], FITS)], ReadSettings.with_defaults().tone)
    plain = {kind: tone.to_plain() for kind, tone in tones.items()}
    package = write_tiny_package(tmp_path / "model", reading=ReadSettings.with_defaults().to_plain(), tones=plain)
    predictor = load_package(package, device="cpu")
    fits.writeto(tmp_path / "flux.fits", flux)
    expected = numbers(predictor, tmp_path / "flux.fits")
    hdus = [fits.PrimaryHDU(flux), fits.ImageHDU(flux), fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(flux)])]
    for hdu in [*hdus, fits.CompImageHDU(flux), (tmp_path / "flux.fits").read_bytes()]:
        np.testing.assert_allclose(numbers(predictor, hdu), expected, atol=1e-6)
    with pytest.raises(DataError, match="not an image but a table"):
        predictor.predict(fits.BinTableHDU.from_columns([fits.Column("x", "E", array=[1.0])]))


def test_masked_pixels_are_unknown_and_never_what_lies_below_the_mask(tmp_path: Path, tiny_backbone: type) -> None:
    flux = np.random.default_rng(1).normal(100, 5, (40, 40))
    tones = decide_tones([array_numbers(flux)], ReadSettings.with_defaults().tone)
    plain = {kind: tone.to_plain() for kind, tone in tones.items()}
    package = write_tiny_package(tmp_path / "model", reading=ReadSettings.with_defaults().to_plain(), tones=plain)
    predictor = load_package(package, device="cpu")
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:25] = True
    unknown, below = np.where(mask, np.nan, flux), np.where(mask, 150, flux)
    told = numbers(predictor, np.ma.masked_array(below, mask))
    np.testing.assert_allclose(told, numbers(predictor, unknown), atol=1e-6)
    assert np.abs(told - numbers(predictor, below)).max() > 1e-4
    np.testing.assert_array_equal(numbers(predictor, np.ma.masked_array(flux)), numbers(predictor, flux))
    with pytest.raises(DataError, match="a masked array of uint8, which has no number for what is masked"):
        predictor.predict(np.ma.masked_array(flux.astype(np.uint8), mask))


def test_features_are_those_of_the_backbone(predictor: Predictor) -> None:
    features_NF = predictor.features(IMAGES, batch_size=4)
    assert (features_NF.shape, features_NF.dtype) == ((6, 8), np.dtype(np.float32))
    prepared = np.stack([predictor.preparation.array(image, "x") for image in IMAGES])
    with torch.inference_mode():
        images_BCHW = predictor.augmentation(torch.from_numpy(prepared), None)
        np.testing.assert_allclose(features_NF, predictor.model.backbone(images_BCHW).numpy(), atol=1e-5)
    assert predictor.features(IMAGES[:0]).shape == (0, 8)
