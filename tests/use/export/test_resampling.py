"""The evaluation transform in a graph gives the pixels that the model's own gives."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from astroclf.data.augment.plan import plan
from astroclf.data.augment.recipe import Augmentation
from astroclf.use.export.resampling import EvaluationTransform
from tests.data.augment.recipes import recipe


def images(count: int, size: int, channels: int) -> np.ndarray:
    """Return noise, and gradients, whose averages often lie half-way between two brightnesses."""
    noise = np.random.default_rng(size).integers(0, 256, (count, size, size, channels), dtype=np.uint8)
    noise[::2] = (noise[::2, :1, :1] / 255 * np.linspace(0, 255, size)[:, None, None]).astype(np.uint8)
    return noise


def both(recipe: Augmentation, images_BHWC: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    pixels = torch.from_numpy(images_BHWC)
    ours = EvaluationTransform(plan(recipe, (1, *images_BHWC.shape[1:]), None), images_BHWC.shape[3])
    return ours(pixels).numpy(), recipe(pixels, None).numpy()


@pytest.mark.parametrize("channels", [1, 2, 3, 5, 6])
@pytest.mark.parametrize(
    ("size", "changes"),
    [
        (32, {}),  # nothing but normalisation
        (32, {"output_size": 16}),  # both sides halved
        (48, {"output_size": 16}),  # another whole factor
        (48, {"output_size": 20}),  # any other factor
        (64, {"crop": [170, 240]}),  # stretched to a square
        (40, {"output_size": 60}),  # a factor that float32 does not hold
        (33, {"output_size": 40}),  # and columns after the last whole vector
        (64, {"crop": [100, 220], "output_size": 48}),  # one side shrinks, the other grows
    ],
)
def test_pixels_are_equal_to_the_bit(size, changes, channels):
    ours, theirs = both(recipe(**changes), images(6, size, channels))
    np.testing.assert_array_equal(ours, theirs)


@settings(max_examples=40)
@given(st.integers(8, 70), st.integers(1, 70), st.integers(40, 256), st.integers(40, 256))
def test_pixels_of_any_crop_and_size_are_equal_to_one_brightness_in_a_thousand(size, output, height, width):
    """Where OpenCV has other code for a processor, a value half-way between two may be rounded to the other."""
    ours, theirs = both(recipe(crop=[height, width], output_size=output, std=[1.0]), images(2, size, 3))
    difference = np.abs(ours - theirs) * 255
    assert difference.max() < 1.001
    assert (difference > 0.5).mean() <= 1e-3
