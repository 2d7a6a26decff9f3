"""An image as another survey would have taken it: the physical terms of a recipe, as the numbers both executors apply.

What a telescope does acts on light, and an 8-bit picture is not proportional to it. So brightness is turned to flux by
the inverse of an asinh, what color pictures of surveys are drawn with, and back. Two things stay approximate: such
pictures scale their bands together (Lupton et al. 2004, PASP 116, 133), and what they cut off at black and white is
lost. Faint light changes about as it should, and the cores of bright objects stay as white as they were.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroclf.data.augment.draws import Draws, mix_64, uniforms

if TYPE_CHECKING:
    from astroclf.data.augment.recipe import Augmentation

FWHM = float(2 * np.sqrt(2 * np.log(2)))  # of a Gaussian of unit standard deviation
QUIET_SHARE = 0.8  # of the differences between neighbours on the border; the rest may be stars and edges
QUIET_MEAN = 0.55861  # the mean of the smallest 80 % of |z|, z normal
LEAST_NOISE = 12**-0.5  # steps of 255: what rounding to whole steps alone makes
MOST_NOISE = 16.0  # steps of 255: a border that varies by more is no sky
GAP_SIDE = (0.02, 0.12)  # width of a gap and radius of a mask, fractions of the side
TABLE = 2**16  # entries of the curve: with a softening of 0.02, 0.04 of 255 apart where it is steepest
SKY, GAPS = np.uint64(0x5C), np.uint64(0x6A)  # what follows from a sample's key apart from its other numbers
DRAWN = 7  # numbers of a sample's stream here; further ones are for its bands


@dataclass(frozen=True)
class Survey:
    """What another survey would do to each of B images; None: the step is left out.

    Flux counts from 0, black, to 1, white. The steps come in this order: JPEG on the stored image, the rest after the
    resampling, where pixels are what the network sees.
    """

    chosen_B: np.ndarray  # bool: to which images all but gaps happens
    quality_B: np.ndarray | None  # of JPEG; 100: none
    kernels_BL: np.ndarray | None  # of the seeing, one-dimensional
    gains_BC: np.ndarray  # factor of the flux above the background
    added_BC: np.ndarray  # sky noise to add, times that of the stored image
    averaged: float  # what averaging down leaves of the stored noise
    slopes_B2: np.ndarray  # rise of the background over the width and over the height, times the noise
    noise_keys_B: np.ndarray
    softening: float | None  # of the curve from flux to brightness, of which the rest are tables
    fluxes: np.ndarray  # (256,) flux of each brightness
    rises: np.ndarray  # (256,) brightness over flux there, its derivative, steps of 255
    brightness: np.ndarray  # (TABLE,) float32: brightness 0 to 255 by the square root of flux


def survey_steps(
    recipe: Augmentation, draws: Draws, bands: int, cropped: tuple[int, int], stored: int, output: tuple[int, int]
) -> Survey | None:
    """Turn the physical terms of a recipe into numbers; None where it has none.

    Parameters
    ----------
    cropped, stored, output
        Height and width of the crop, width of the stored image, height and width of the output.
    """
    if not recipe.degrade:
        return None
    u = uniforms(mix_64(draws.key ^ SKY), DRAWN + bands)
    kernels_BL = None
    kept_B = np.ones(len(draws))
    if recipe.seeing:
        scale = output[1] / cropped[1] * stored / recipe.reference_size / (recipe.pixel_scale or 1.0) / FWHM
        kernels_BL = gaussian_kernels(recipe.seeing * u[:, 1] * scale, recipe.seeing * scale, min(output))
        kept_B = (kernels_BL**2).sum(axis=1)
    fainter = recipe.dimming * u[:, 3, None] + recipe.zero_point * (2 * u[:, DRAWN:] - 1)
    gains_BC = 10 ** (-0.4 * fainter)
    # Seeing and dimming weaken the noise that is there, too.
    wanted_B, left_BC = 10 ** (0.4 * recipe.depth * u[:, 2]), kept_B[:, None] * gains_BC
    angle, rise = 2 * np.pi * u[:, 5], recipe.gradient * u[:, 4]
    fluxes, rises = flux_of_brightness(recipe.softening)
    return Survey(
        chosen_B=u[:, 0] < recipe.degrade,
        quality_B=qualities(recipe.jpeg, u[:, 6]) if recipe.jpeg else None,
        kernels_BL=kernels_BL,
        gains_BC=gains_BC,
        added_BC=np.sqrt(np.maximum(wanted_B[:, None] ** 2 - left_BC**2, 0)),
        averaged=float(np.sqrt(min(1, output[0] / cropped[0]) * min(1, output[1] / cropped[1]))),
        slopes_B2=np.stack([rise * np.cos(angle), rise * np.sin(angle)], axis=1),
        noise_keys_B=mix_64(draws.key ^ SKY ^ GAPS),
        softening=recipe.softening,
        fluxes=fluxes,
        rises=rises,
        brightness=brightness_table(recipe.softening),
    )


def qualities(lowest: int, u_B: np.ndarray) -> np.ndarray:
    """Draw the JPEG quality of half of the images, from the lowest to 99; of the others it is 100, (B,) int64."""
    return np.where(u_B < 0.5, np.floor(lowest + (100 - lowest) * 2 * u_B), 100).astype(np.int64)


def gaussian_kernels(sigmas_B: np.ndarray, largest: float, side: int) -> np.ndarray:
    """Compute kernels of unit sum, (B, L), long enough for the largest sigma, and no longer than an image allows."""
    radius = max(1, min(int(np.ceil(3 * largest)), side - 1))
    x = np.arange(-radius, radius + 1)
    kernels = np.exp(-0.5 * (x / np.maximum(sigmas_B, 1e-3)[:, None]) ** 2)
    return kernels / kernels.sum(axis=1, keepdims=True)


def flux_of_brightness(softening: float | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the flux of brightness 0 to 255, (256,), and how steeply brightness rises with flux there, (256,)."""
    unit = np.arange(256) / 255
    if softening is None:
        return unit, np.full(256, 255.0)
    full = np.arcsinh(1 / softening)
    fluxes = softening * np.sinh(unit * full)
    return fluxes, 255 / (full * np.hypot(fluxes, softening))


def brightness_table(softening: float | None) -> np.ndarray:
    """Return brightness 0 to 255 of fluxes 0 to 1 in equal steps, (TABLE,) float32."""
    fluxes = np.linspace(0, 1, TABLE)
    if softening is not None:
        fluxes = np.arcsinh(fluxes / softening) / np.arcsinh(1 / softening)
    return np.asarray(255 * fluxes, dtype=np.float32)


def gap_boxes(recipe: Augmentation, draws: Draws, output: tuple[int, int]) -> np.ndarray | None:
    """Return the pixels that each image lacks, (B, 5) int64; None where the recipe has no gaps.

    Top, left, bottom and right of a strip across the image, as between two chips, or of the box around a round mask, as
    over a bright star, and whether it is round. A box may reach beyond the image; an empty one is no gap.
    """
    if not recipe.gaps:
        return None
    there, kind, *places, size = uniforms(mix_64(draws.key ^ GAPS), 5).T
    is_round = kind >= 0.5
    widths = np.rint((GAP_SIDE[0] + (GAP_SIDE[1] - GAP_SIDE[0]) * size) * min(output) * np.where(is_round, 2, 1))
    firsts, lasts = [], []
    for side, place, whole in zip(output, places, (~is_round & (kind < 0.25), ~is_round & (kind >= 0.25)), strict=True):
        first = np.rint(place * side - widths / 2)
        firsts.append(np.where(whole, 0, first))
        lasts.append(np.where(whole, side, first + np.maximum(widths, 1)))
    boxes = np.stack([*firsts, *lasts, is_round], axis=1).astype(np.int64)
    boxes[there >= recipe.gaps] = 0
    return boxes
