"""TrivialAugment: one random change of random strength to each image (Müller & Hutter 2021, arXiv:2103.10158).

The changes are torchvision's functions, and their strengths those of its ``TrivialAugmentWide``, with two departures
for objects in the middle of an image: shears are about the centre, and shifts a fraction of the side, 32 of 224 pixels.
The random numbers are ours, so that they depend on seed, epoch and row alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from torchvision.transforms.v2 import functional as tv
else:  # a model that is only used changes no image
    tv = lazy_import("torchvision.transforms.v2.functional")

Change = Callable[[torch.Tensor, float, list[float]], torch.Tensor]


def changed(image_CHW: torch.Tensor, number: int, strength: float, outside_C: list[float]) -> torch.Tensor:
    """Return an image after change `number` of `CHANGES`, (C, H, W) uint8.

    Parameters
    ----------
    strength
        From -1 to 1; of changes that have no direction, its size counts.
    outside_C
        What a moved image shows of its outside. Bands that are not RGB are changed one by one, and have no saturation.
    """
    change = CHANGES[number]
    if len(image_CHW) == 3:
        return change(image_CHW, strength, outside_C)
    bands = [change(image_CHW[k : k + 1], strength, outside_C[k : k + 1]) for k in range(len(image_CHW))]
    return torch.cat(bands)


def _moved(
    image: torch.Tensor,
    outside: list[float],
    *,
    degrees: float = 0.0,
    shift: tuple[float, float] = (0, 0),
    shear: tuple[float, float] = (0, 0),
) -> torch.Tensor:
    background = torch.tensor(outside, device=image.device)[:, None, None]
    pixels = [32 / 224 * shift[0] * image.shape[2], 32 / 224 * shift[1] * image.shape[1]]
    sheared = [math.degrees(math.atan(0.99 * each)) for each in shear]
    # What is above the background moves: torchvision's own filling leaves a dark rim.
    above = tv.affine(image - background, -degrees, pixels, 1.0, sheared, interpolation=tv.InterpolationMode.BILINEAR)
    return (above + background).round().clamp(0, 255).to(torch.uint8)


CHANGES: tuple[Change, ...] = (
    lambda image, _strength, _outside: image,
    lambda image, strength, outside: _moved(image, outside, shear=(strength, 0)),
    lambda image, strength, outside: _moved(image, outside, shear=(0, strength)),
    lambda image, strength, outside: _moved(image, outside, shift=(strength, 0)),
    lambda image, strength, outside: _moved(image, outside, shift=(0, strength)),
    lambda image, strength, outside: _moved(image, outside, degrees=135 * strength),
    lambda image, strength, _: tv.adjust_brightness(image, 1 + 0.99 * strength),
    lambda image, strength, _: tv.adjust_saturation(image, 1 + 0.99 * strength),
    lambda image, strength, _: tv.adjust_contrast(image, 1 + 0.99 * strength),
    lambda image, strength, _: tv.adjust_sharpness(image, 1 + 0.99 * strength),
    lambda image, strength, _: tv.posterize(image, 8 - round(6 * abs(strength))),
    lambda image, strength, _: tv.solarize(image, 255 * (1 - abs(strength))),
    lambda image, _strength, _outside: tv.autocontrast(image),
    lambda image, _strength, _outside: tv.equalize(image),
)


def apply_to_one(image_HWC: np.ndarray, number: int, strength: float, outside_C: np.ndarray) -> np.ndarray:
    """Apply a change to an image in main memory, (H, W, C) uint8."""
    image_CHW = torch.from_numpy(image_HWC).permute(2, 0, 1)
    out_CHW = changed(image_CHW, number, strength, outside_C.astype(float).tolist())
    return np.ascontiguousarray(out_CHW.permute(1, 2, 0).numpy())


def apply_to_all(
    images_BHWC: torch.Tensor, numbers_B: np.ndarray, strengths_B: np.ndarray, outside_BC: torch.Tensor
) -> torch.Tensor:
    """Apply its change to each image of a batch, (B, H, W, C) uint8; what lies outside is asked of the device once."""
    outside = outside_BC.float().tolist()
    out = [
        changed(image_HWC.permute(2, 0, 1), *drawn)
        for image_HWC, *drawn in zip(images_BHWC, numbers_B.tolist(), strengths_B.tolist(), outside, strict=True)
    ]
    return torch.stack(out).permute(0, 2, 3, 1)
