"""TrivialAugment: torchvision's changes at its strengths, drawn evenly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.autoaugment import _apply_op

from astroclf.data.augment.plan import TRIVIAL_CHANGES, single_changes
from astroclf.data.augment.trivial import CHANGES, changed
from tests.data.augment.recipes import recipe

IMAGE = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (3, 32, 32), dtype=np.uint8))
THEIRS = {  # torchvision's names and magnitudes at a strength; shears and shifts are ours
    0: ("Identity", lambda s: 0.0),
    6: ("Brightness", lambda s: 0.99 * s),
    7: ("Color", lambda s: 0.99 * s),
    8: ("Contrast", lambda s: 0.99 * s),
    9: ("Sharpness", lambda s: 0.99 * s),
    10: ("Posterize", lambda s: 8 - round(6 * abs(s))),
    11: ("Solarize", lambda s: 255 * (1 - abs(s))),
    12: ("AutoContrast", lambda s: 0.0),
    13: ("Equalize", lambda s: 0.0),
}


@pytest.mark.parametrize("strength", [-0.7, 0.3])
@pytest.mark.parametrize("number", THEIRS)
def test_changes_are_torchvisions(number: int, strength: float) -> None:
    name, magnitude = THEIRS[number]
    expected = _apply_op(IMAGE, name, magnitude(strength), InterpolationMode.BILINEAR, [0.0] * 3)
    assert (changed(IMAGE, number, strength, [0.0] * 3).int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("strength", [-0.7, 0.3])
def test_rotations_are_torchvisions_inside(strength: float) -> None:
    expected = _apply_op(IMAGE, "Rotate", 135 * strength, InterpolationMode.BILINEAR, [0.0] * 3)[:, 8:24, 8:24]
    assert (changed(IMAGE, 5, strength, [90.0] * 3)[:, 8:24, 8:24].int() - expected.int()).abs().max() <= 1


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_shears_and_shifts_move_about_the_centre_and_show_the_background(number: int) -> None:
    image = torch.full((3, 33, 33), 50, dtype=torch.uint8)
    image[:, 8:25, 16] = image[:, 16, 8:25] = 200
    moved = changed(image, number, 0.5, [50.0] * 3)[0].int()
    assert moved.min() >= 49
    assert not torch.equal(moved, image[0].int())
    rows, columns = np.nonzero(moved.numpy() > 60)
    place = {"shear": (16, 16), 3: (16, 16 + 33 / 14), 4: (16 + 33 / 14, 16)}
    assert (rows.mean(), columns.mean()) == pytest.approx(place.get(number, place["shear"]), abs=0.7)


def test_every_change_and_strength_is_as_likely() -> None:
    assert len(CHANGES) == TRIVIAL_CHANGES
    numbers, strengths = single_changes(recipe("trivial").draw(0, 0, np.arange(14_000)))
    assert np.abs(np.bincount(numbers, minlength=14) - 1000).max() < 5 * math.sqrt(1000)
    assert len(np.unique(strengths)) == 61
    assert strengths.mean() == pytest.approx(0, abs=0.03)
    assert np.abs(strengths).mean() == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("bands", [1, 2, 5])
@pytest.mark.parametrize("number", range(TRIVIAL_CHANGES))
def test_images_of_any_bands_are_changed_band_by_band(number: int, bands: int) -> None:
    image = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (bands, 16, 16), dtype=np.uint8))
    out = changed(image, number, 0.5, [float(k) for k in range(bands)])
    assert out.shape == image.shape
    assert out.dtype == torch.uint8
    assert torch.equal(out[-1:], changed(image[-1:], number, 0.5, [float(bands - 1)]))
