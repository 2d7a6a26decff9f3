"""What an augmented image looks like: laws of the symmetries, torchvision as judge, the recipes."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms.v2 import functional as tv

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.augment.draws import Draws
from astroclf.data.augment.recipe import Augmentation
from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import yaml_values
from tests.data.augment.recipes import recipe

ROWS = np.arange(8)


def images(count: int = 8, size: int = 32, bands: int = 3, seed: int = 0) -> torch.Tensor:
    pixels = np.random.default_rng(seed).integers(0, 256, (count, size, size, bands), dtype=np.uint8)
    return torch.from_numpy(pixels)


def neutral(count: int) -> Draws:
    """Draws that change nothing."""
    one, zero, no = np.ones(count), np.zeros(count), np.zeros(count, dtype=bool)
    turns, keys = zero.astype(np.int64), zero.astype(np.uint64)
    return Draws(one, one, one, zero, one, no, no, turns, zero, one, zero, zero, keys)


def apply(augmentation: Augmentation, pixels: torch.Tensor, **drawn: Any) -> torch.Tensor:
    """One known change: neutral draws but for the given ones; values 0 to 255 in BHWC."""
    count = len(pixels)
    draws = replace(neutral(count), **{name: np.full(count, value) for name, value in drawn.items()})
    return torch.from_numpy(augmentation.to_uint8(augmentation(pixels, draws)))


ANY_GEOMETRY = recipe(hflip=0.5, vflip=0.5, rotation=(0, 360), zoom=(0.5, 2), shift=0.5)


@pytest.mark.parametrize("name", ["astro8", "galaxy10", "dihedral", "survey", "trivial", "none"])
def test_recipes_name_every_field_and_give_normalised_channels_last_floats(name: str) -> None:
    options = yaml_values(f"augment/{name}")
    assert set(options) - {"_target_"} == {f.name for f in fields(Augmentation)}
    augmentation, pixels = recipe(name), images()
    for draws in (augmentation.draw(0, 0, ROWS), None):
        out = augmentation(pixels, draws)
        assert out.shape == (8, 3, 32, 32)
        assert out.dtype == torch.float32
        assert out.is_contiguous(memory_format=torch.channels_last)
        assert -3 < out.min() < 0 < out.max() < 3


@pytest.mark.parametrize("name", ["astro8", "galaxy10", "dihedral", "survey", "trivial"])
def test_a_batch_is_eight_batches_of_one_bit_for_bit(name: str) -> None:
    augmentation, pixels = recipe(name), images()
    together = augmentation(pixels, augmentation.draw(5, 2, ROWS), 2)
    alone = [augmentation(pixels[i : i + 1], augmentation.draw(5, 2, ROWS[i : i + 1]), 1) for i in range(8)]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, augmentation(pixels, augmentation.draw(5, 3, ROWS)))
    assert not torch.equal(together, augmentation(pixels, augmentation.draw(6, 2, ROWS)))


def test_switching_one_step_off_leaves_the_other_draws_alone() -> None:
    full, less = recipe("galaxy10").draw(0, 0, ROWS), recipe("galaxy10", hue=0.0, blur_kernel=0).draw(0, 0, ROWS)
    np.testing.assert_array_equal(full.angle, less.angle)
    np.testing.assert_array_equal(full.key, less.key)


def test_draws_stay_within_the_recipe_and_fill_it() -> None:
    draws = recipe("galaxy10").draw(1, 1, np.arange(4000))
    for values, low, high in (
        (draws.brightness, 0.6, 1.4),
        (draws.contrast, 0.6, 1.4),
        (draws.saturation, 0.6, 1.4),
        (draws.hue, -0.5, 0.5),
        (draws.blur_sigma, 0.1, 2.0),
        (draws.angle, 0, 270),
    ):
        width = high - low
        assert low <= values.min() < low + 0.01 * width
        assert high - 0.01 * width < values.max() <= high
    assert draws.flip_horizontal.mean() == pytest.approx(0.5, abs=0.04)
    assert not draws.flip_vertical.any()
    assert (draws.zoom == 1).all()
    assert (draws.shift_x == 0).all()
    symmetries = recipe("dihedral").draw(1, 1, np.arange(4000))
    element = symmetries.quarter_turns + 4 * symmetries.flip_horizontal
    assert np.abs(np.bincount(element, minlength=8) - 500).max() < 110


# ---- laws ----------------------------------------------------------------------------------------------------------


def test_none_only_normalises() -> None:
    pixels = images()
    expected = (pixels.double().permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    for draws in (recipe("none").draw(0, 0, ROWS), None):
        torch.testing.assert_close(recipe("none")(pixels, draws).double(), expected, atol=1e-6, rtol=0)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(2, 40), bands=st.sampled_from([1, 2, 3, 5]), turns=st.integers(-2, 3))
def test_whole_turns_change_nothing(size: int, bands: int, turns: int) -> None:
    pixels = images(1, size, bands)
    assert torch.equal(apply(ANY_GEOMETRY, pixels, angle=360.0 * turns), pixels)


@settings(max_examples=25, deadline=None)
@given(size=st.integers(2, 40), quarter=st.integers(0, 3), as_angle=st.booleans(), flip=st.booleans())
def test_dihedral_draws_move_pixels_as_rot90_and_flip_do(size: int, quarter: int, as_angle: bool, flip: bool) -> None:
    pixels = images(2, size)
    turn = {"angle": 90.0 * quarter} if as_angle else {"quarter_turns": quarter}
    expected = torch.rot90(pixels.flip(2) if flip else pixels, quarter, dims=(1, 2))
    assert torch.equal(apply(ANY_GEOMETRY, pixels, flip_horizontal=flip, **turn), expected)


def test_flipping_twice_changes_nothing() -> None:
    pixels = images()
    for flip in ("flip_horizontal", "flip_vertical"):
        once = apply(ANY_GEOMETRY, pixels, **{flip: True})
        assert not torch.equal(once, pixels)
        assert torch.equal(apply(ANY_GEOMETRY, once, **{flip: True}), pixels)


def test_views_are_the_eight_symmetries_a_closed_group() -> None:
    pixels = images(1, 6).permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last)
    views = list(dihedral_views(pixels))
    assert torch.equal(views[0], pixels)
    as_keys = {view.contiguous().numpy().tobytes() for view in views}
    assert len(as_keys) == 8
    for view in views:
        assert view.is_contiguous(memory_format=torch.channels_last)
        assert {again.contiguous().numpy().tobytes() for again in dihedral_views(view)} == as_keys
    with pytest.raises(ValueError, match="square"):
        next(dihedral_views(torch.zeros(1, 3, 4, 5)))


def test_shift_and_zoom_move_as_their_names_say() -> None:
    pixels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8)
    pixels[0, 14:18, 14:18] = 255
    shifted = apply(ANY_GEOMETRY, pixels, shift_x=0.25, shift_y=-0.125)
    assert torch.equal(shifted[0, 10:14, 22:26], torch.full((4, 4, 3), 255, dtype=torch.uint8))
    assert shifted.sum() == pixels.sum()
    zoomed = apply(ANY_GEOMETRY, pixels, zoom=2.0)
    assert zoomed.sum() == pytest.approx(4 * pixels.sum().item(), rel=0.01)


@settings(max_examples=40, deadline=None)
@given(bands=st.sampled_from([1, 2, 3, 4, 5, 9]), size=st.integers(2, 40), seed=st.integers(0, 99))
def test_a_flat_image_stays_flat_to_its_corners(bands: int, size: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, bands, dtype=np.uint8)
    pixels = torch.from_numpy(np.broadcast_to(levels, (1, size, size, bands)).copy())
    drawn = {"angle": 45.0, "zoom": 0.6, "shift_x": 0.3, "shift_y": -0.2}
    assert torch.equal(apply(ANY_GEOMETRY, pixels, **drawn), pixels)


def test_resizing_darkens_no_edge() -> None:
    enlarged = recipe(output_size=50)(torch.full((1, 32, 32, 3), 200, dtype=torch.uint8), None)
    assert (enlarged == enlarged[0, 0, 25, 25]).all()


def test_what_lies_outside_is_sky_and_not_black() -> None:
    """The sky is 40 and noisy, with a star on the edge and a galaxy in the middle: neither is the background."""
    sky = np.random.default_rng(0).normal(40, 3, (1, 48, 48, 3)).clip(0, 255)
    sky[:, 18:30, 18:30] = 220
    sky[:, :9, 20:29] = 255
    pixels = torch.from_numpy(sky.astype(np.uint8))
    for drawn in ({"angle": 45.0}, {"zoom": 0.5}, {"shift_x": 0.4}):
        changed = apply(ANY_GEOMETRY, pixels, **drawn)[0].float()
        corner = changed[-4:, :4]
        assert corner.std() < 3.5
        assert 38 <= corner.mean() <= 42, drawn
        assert changed.min() > 20


@pytest.mark.parametrize(("bands", "output"), [(3, None), (1, 20), (5, 40)])
def test_color_comes_before_or_after_the_geometry_as_the_recipe_says(bands: int, output: int | None) -> None:
    """Each order is the two halves one after the other, to the bit; the draws know nothing of it."""
    pixels = torch.full((8, 32, 32, bands), 50, dtype=torch.uint8)  # another mean grey once more of it is in view
    pixels[:, 4:28, 4:28] = 60 + images(8, 24, bands) // 2
    light = {"brightness": 0.3, "contrast": 0.4, "saturation": 0.2}
    moves = {"hflip": 0.5, "rotation": (-40, 40), "zoom": (0.6, 1.0), "output_size": output}
    whole = {order: recipe(**light, **moves, color=order) for order in ("before_geometry", "after_geometry")}
    drawn = [augmentation.draw(3, 1, ROWS) for augmentation in whole.values()]
    for field in fields(Draws):
        np.testing.assert_array_equal(*(getattr(draws, field.name) for draws in drawn))

    def then(first: Augmentation, second: Augmentation) -> np.ndarray:
        between = torch.from_numpy(first.to_uint8(first(pixels, drawn[0])))
        return second.to_uint8(second(between, drawn[0]))

    before, after = (augmentation.to_uint8(augmentation(pixels, drawn[0])) for augmentation in whole.values())
    np.testing.assert_array_equal(after, then(recipe(**moves), recipe(**light)))
    if output is None:
        assert np.abs(before.astype(int) - then(recipe(**light), recipe(**moves))).max() <= 1
    assert np.abs(before.astype(int) - after).max() > 3


def test_what_lies_outside_gets_the_photometry_of_the_image() -> None:
    pixels = torch.full((1, 24, 24, 3), 100, dtype=torch.uint8)
    augmentation = replace(ANY_GEOMETRY, brightness=0.5, contrast=0.5, hue=0.5, blur_kernel=3)
    turned = apply(augmentation, pixels, angle=45.0, brightness=1.4, contrast=0.7, hue=0.3)
    assert (turned == turned[0, 12, 12]).all()
    assert turned[0, 0, 0, 0] == 140


def test_padding_of_a_picture_that_is_no_square_stays_and_goes_on() -> None:
    pixels = torch.zeros((1, 40, 40, 3), dtype=torch.uint8)
    pixels[:, 10:30] = 60
    turned = apply(ANY_GEOMETRY, pixels, angle=45.0)[0]
    assert (turned[20, 18:22] == 60).all()
    for corner in (turned[:6, :6], turned[-6:, -6:]):
        assert (corner == 0).all()


# ---- torchvision as judge ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "factor", "judge"),
    [
        ("brightness", 0.7, tv.adjust_brightness),
        ("brightness", 1.4, tv.adjust_brightness),
        ("contrast", 0.6, tv.adjust_contrast),
        ("contrast", 1.4, tv.adjust_contrast),
        ("saturation", 0.6, tv.adjust_saturation),
        ("saturation", 1.4, tv.adjust_saturation),
    ],
)
def test_light_and_saturation_equal_torchvisions(field: str, factor: float, judge: Any) -> None:
    pixels = images(2)
    ours = apply(recipe(**{field: 0.5}), pixels, **{field: factor})
    theirs = judge(pixels.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)
    assert (ours.int() - theirs.int()).abs().max() <= 2  # torchvision cuts its decimals off


def test_hue_turns_red_into_green_and_keeps_grey() -> None:
    red, grey = torch.tensor([150, 0, 0]), torch.tensor([90, 90, 90])
    pixels = torch.stack([red, grey]).to(torch.uint8).reshape(2, 1, 1, 3).expand(2, 4, 4, 3).contiguous()
    turned = apply(recipe(hue=0.5), pixels, hue=1 / 3)
    assert turned[0, 0, 0].tolist() == pytest.approx([0, 150, 0], abs=1)
    assert turned[1, 0, 0].tolist() == [90, 90, 90]


@pytest.mark.parametrize("sigma", [0.1, 0.7, 2.0])
def test_blur_equals_torchvisions(sigma: float) -> None:
    pixels = images(2)
    ours = apply(recipe(blur_kernel=3), pixels, blur_sigma=sigma)
    theirs = tv.gaussian_blur(pixels.permute(0, 3, 1, 2).contiguous(), [3, 3], [sigma, sigma]).permute(0, 2, 3, 1)
    assert (ours.int() - theirs.int()).abs().max() <= 1


@pytest.mark.parametrize("angle", [33.0, 123.0, -60.0, 200.0, 290.0])
def test_rotation_equals_torchvisions_inside(angle: float) -> None:
    pixels = images(2, 64)
    ours = apply(ANY_GEOMETRY, pixels, angle=angle)
    theirs = tv.rotate(pixels.permute(0, 3, 1, 2).float(), angle, tv.InterpolationMode.BILINEAR).permute(0, 2, 3, 1)
    inside = slice(16, 48)
    assert (ours[:, inside, inside].float() - theirs[:, inside, inside]).abs().max() <= 1


@pytest.mark.parametrize("size", [256, 128, 65])
def test_evaluation_of_galaxy10_is_crop_resize_normalise(size: int) -> None:
    pixels = images(1, size)
    augmentation = recipe("galaxy10", output_size=256)
    height, width = round(170 * size / 256), round(240 * size / 256)
    cropped = tv.center_crop(pixels.permute(0, 3, 1, 2), [height, width]).float()
    expected = (tv.resize(cropped, [256, 256], antialias=True) / 255 - 0.5) / 0.5
    assert (augmentation(pixels, None) - expected).abs().max() <= 2 / 255


def test_smaller_output_averages_instead_of_skipping_pixels() -> None:
    checkerboard = (torch.arange(64)[:, None] + torch.arange(64)[None]) % 2 * 255
    pixels = checkerboard.to(torch.uint8)[None, :, :, None].expand(1, 64, 64, 3).contiguous()
    out = recipe(output_size=32)(pixels, None)
    assert out.abs().max() <= 1 / 127  # mid-grey everywhere


# ---- noise, other bands, errors ------------------------------------------------------------------------------------


def test_noise_has_the_width_asked_for_and_is_the_samples_own() -> None:
    pixels = torch.full((2, 64, 64, 3), 128, dtype=torch.uint8)
    augmentation = recipe(noise=0.01, mean=[0.0], std=[1.0])
    out = augmentation(pixels, augmentation.draw(0, 0, np.array([3, 4]))) - 128 / 255
    assert out.std().item() == pytest.approx(0.01, rel=0.03)
    assert not torch.equal(out[0], out[1])
    assert torch.equal(out[1:], augmentation(pixels[1:], augmentation.draw(0, 0, np.array([4]))) - 128 / 255)


@pytest.mark.parametrize("bands", [1, 2, 5])
def test_bands_that_are_not_rgb_keep_their_ratios_without_saturation(bands: int) -> None:
    pixels = images(1, 32, bands) // 2
    augmentation = recipe("galaxy10", blur_kernel=0, rotation=[0, 0], crop=None, contrast=0.0, saturation=0.0)
    out = apply(augmentation, pixels, brightness=1.3, hue=0.4)
    assert (out.float() - pixels * 1.3).abs().max() <= 1


@pytest.mark.parametrize("bands", [2, 5])
def test_saturation_gives_each_band_a_factor_of_its_own(bands: int) -> None:
    flat = torch.full((200, 8, 8, bands), 100, dtype=torch.uint8)
    augmentation = recipe(saturation=0.2)
    draws = augmentation.draw(0, 0, np.arange(200))
    factors = augmentation.to_uint8(augmentation(flat, draws))[:, 4, 4] / 100
    assert 0.79 < factors.min() < 0.82
    assert 1.18 < factors.max() < 1.21
    assert np.abs(np.corrcoef(factors.T) - np.eye(bands)).max() < 0.25
    again = augmentation.to_uint8(augmentation(flat[:3], augmentation.draw(0, 0, np.arange(3))))[:, 4, 4] / 100
    np.testing.assert_array_equal(again, factors[:3])  # the sample's own, in any company


def test_contrast_turns_about_each_bands_mean() -> None:
    """Whatever the factors of exposure, contrast and band: the mean over the image is scaled by exposure and band."""
    pixels = images(4, 32, 5) // 4 + torch.arange(60, 110, 10, dtype=torch.uint8)
    augmentation = recipe(contrast=0.3, saturation=0.2)
    draws = replace(augmentation.draw(0, 0, np.arange(4)), brightness=np.full(4, 0.9))
    without = replace(draws, contrast=np.ones(4))
    means = [augmentation(pixels, drawn).mean(dim=(2, 3)) for drawn in (draws, without)]
    torch.testing.assert_close(*means, atol=2 / 255, rtol=0)


def test_a_single_band_has_no_color_to_change() -> None:
    pixels = images(8, 16, 1)
    augmentation = recipe(saturation=0.9, hue=0.5)
    assert torch.equal(augmentation(pixels, augmentation.draw(0, 0, ROWS)), augmentation(pixels, None))


@pytest.mark.parametrize("name", ["astro8", "dihedral"])
def test_normalisation_suits_the_number_of_bands(name: str) -> None:
    black = recipe(name)(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), None)[0, :, 4, 4]
    assert black.tolist() == pytest.approx([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    for bands in (1, 5):
        pixels = images(1, 8, bands)
        out = recipe(name)(pixels, None)
        assert out.max() <= 1
        assert out.min() >= -1
        np.testing.assert_array_equal(recipe(name).to_uint8(out), pixels)


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"hue": 0.7}, "augment.hue=0.7"),
        ({"color": "last"}, "before_geometry or after_geometry"),
        ({"blur_kernel": 4}, "odd"),
        ({"rotation": [20, -20]}, "low ≤ high"),
        ({"crop": [300, 200]}, "reference_size"),
        ({"crop": [100]}, r"\[height, width\]"),
        ({"zoom": [0, 1]}, "zoom"),
        ({"dihedral": True, "hflip": 0.5}, "already contains"),
        ({"std": [0.0]}, "std"),
        ({"mean": []}, "or null"),
        ({"hflip": 1.5}, "probability"),
    ],
)
def test_values_that_cannot_work_are_named(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        recipe(**options)


def test_normalisation_that_does_not_fit_the_bands_is_named() -> None:
    with pytest.raises(ConfigError, match=r"3 values, but the images have 5 band"):
        recipe("astro8", mean=[0.4, 0.5, 0.6])(images(1, 32, 5), None)


def test_float_images_are_refused() -> None:
    with pytest.raises(TypeError, match="uint8"):
        recipe("none")(images().float(), None)


def test_a_recipe_is_checked_before_torch_and_opencv_load() -> None:
    program = (
        "import sys; from astroclf.data.augment.recipe import Augmentation;"
        "print(sorted({'torch', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "[]\n"
