"""A recipe and its draws as the numbers that both executors apply: color matrices, kernels, affine maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from astroclf.data.augment.draws import DRAWN, Draws, mix_64, uniforms
from astroclf.data.augment.survey import Survey, gap_boxes, survey_steps
from astroclf.errors import ConfigError

if TYPE_CHECKING:
    from astroclf.data.augment.recipe import Augmentation

GREY_WEIGHTS = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601 luma, as in torchvision and Pillow
TRIVIAL, TRIVIAL_CHANGES = np.uint64(0x7A), 14  # apart from a sample's other numbers; how many changes there are
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}  # what pretrained weights expect of RGB


@dataclass(frozen=True)
class Steps:
    """What to do to each of B images, in this order; None: the step is left out.

    Which steps there are follows from the recipe and the shapes, never from the draws: a sample is so treated alike
    whatever else is in its batch.
    """

    crop: tuple[int, int, int, int]  # top, left, height, width in pixels of the stored image
    changes_B: np.ndarray | None  # which of `trivial.CHANGES` comes first
    strengths_B: np.ndarray | None  # of these, -1 to 1
    color_last: bool  # the next two come after the warp, instead of before the blur
    color_BCC: np.ndarray | None  # linear part of the photometry, on values 0 to 255
    pivot_BC: np.ndarray | None  # how much of the mean grey, (B, 1), or of each band's mean where not RGB is added
    blur_BL: np.ndarray | None  # one-dimensional kernels, applied along both axes
    area: tuple[int, int] | None  # average down to this height and width before resampling
    warp_B23: np.ndarray | None  # output pixel (x, y, 1) -> source pixel (x, y)
    filled: bool  # whether the warp may show what lies outside of the image: it is filled with the background
    output: tuple[int, int]  # height, width
    survey: Survey | None  # what another survey would have made of it: JPEG first of all, the rest here
    gaps_B5: np.ndarray | None  # black boxes and circles
    scale_C: np.ndarray  # normalised = value * scale + offset, on values 0 to 255
    offset_C: np.ndarray
    noise_keys_B: np.ndarray | None
    noise_C: np.ndarray  # standard deviation of the noise after normalisation


def plan(recipe: Augmentation, shape_BHWC: tuple[int, ...], draws: Draws | None) -> Steps:
    """Plan the steps for a batch of this shape; `draws` None: only crop, resize and normalise."""
    count, height, width, bands = shape_BHWC
    if draws is not None and len(draws) != count:
        raise ValueError(f"{len(draws)} draws for {count} images")
    crop = centre_crop(recipe, height, width)
    cropped = crop[2:]
    output = (recipe.output_size or height, recipe.output_size or width)
    shrunk = (min(cropped[0], output[0]), min(cropped[1], output[1]))
    mean, std = (per_band(recipe, name, bands) for name in ("mean", "std"))

    random_color = draws is not None and max(recipe.brightness, recipe.contrast, recipe.saturation, recipe.hue) > 0
    random_geometry = draws is not None and (
        recipe.dihedral
        or max(recipe.hflip, recipe.vflip, recipe.shift) > 0
        or recipe.rotation != (0, 0)
        or recipe.zoom != (1, 1)
    )
    # Quarter turns of a square stay inside of it, and so does what is flipped or magnified.
    shows_outside = recipe.rotation != (0, 0) or recipe.zoom[0] < 1 or recipe.shift > 0
    shows_outside = shows_outside or (recipe.dihedral and cropped[0] != cropped[1])
    changes_B, strengths_B = single_changes(draws) if draws is not None and recipe.trivial else (None, None)
    return Steps(
        crop=crop,
        changes_B=changes_B,
        strengths_B=strengths_B,
        color_last=recipe.color == "after_geometry",
        color_BCC=color_matrices(recipe, draws, bands) if draws is not None and random_color else None,
        pivot_BC=pivots(recipe, draws, bands) if draws is not None and recipe.contrast > 0 else None,
        blur_BL=blur_kernels(draws, recipe.blur_kernel) if draws is not None and recipe.blur_kernel else None,
        area=shrunk if shrunk != cropped else None,
        warp_B23=affine_maps(draws if random_geometry else None, count, cropped, shrunk, output)
        if random_geometry or shrunk != output
        else None,
        filled=draws is not None and shows_outside,
        output=output,
        survey=survey_steps(recipe, draws, bands, cropped, width, output) if draws is not None else None,
        gaps_B5=gap_boxes(recipe, draws, output) if draws is not None else None,
        scale_C=(1 / (255 * std)).astype(np.float32),
        offset_C=(-mean / std).astype(np.float32),
        noise_keys_B=draws.key if draws is not None and recipe.noise > 0 else None,
        noise_C=(recipe.noise / std).astype(np.float32),
    )


def centre_crop(recipe: Augmentation, height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the crop in an image, rounded as torchvision's CenterCrop does."""
    if recipe.crop is None:
        return 0, 0, height, width
    crop_height = max(1, round(recipe.crop[0] * height / recipe.reference_size))
    crop_width = max(1, round(recipe.crop[1] * width / recipe.reference_size))
    return round((height - crop_height) / 2), round((width - crop_width) / 2), crop_height, crop_width


def single_changes(draws: Draws) -> tuple[np.ndarray, np.ndarray]:
    """Draw the change that TrivialAugment makes to each image, (B,) int64, and its strength in 30 steps, (B,)."""
    which, strength, sign = uniforms(mix_64(draws.key ^ TRIVIAL), 3).T
    return (which * TRIVIAL_CHANGES).astype(np.int64), np.floor(31 * strength) / 30 * np.where(sign < 0.5, -1, 1)


def color_matrices(recipe: Augmentation, draws: Draws, bands: int) -> np.ndarray:
    """Compute the linear part of the photometry, (B, C, C): hue · saturation · contrast · brightness."""
    gain = (draws.brightness * draws.contrast)[:, None, None]
    if bands != 3:
        return gain * (band_gains(recipe, draws, bands)[:, :, None] * np.eye(bands))
    saturation = draws.saturation[:, None, None]
    to_grey = np.tile(GREY_WEIGHTS, (3, 1))
    saturate = saturation * np.eye(3) + (1 - saturation) * to_grey
    return gain * (hue_rotations(draws.hue) @ saturate)


def pivots(recipe: Augmentation, draws: Draws, bands: int) -> np.ndarray:
    """Compute the share of the mean grey that contrast adds, (B, 1), or of each band's mean where not RGB, (B, C)."""
    pivots_B1 = ((1 - draws.contrast) * draws.brightness)[:, None]
    return pivots_B1 if bands == 3 else pivots_B1 * band_gains(recipe, draws, bands)


def band_gains(recipe: Augmentation, draws: Draws, bands: int) -> np.ndarray:
    """Compute a factor for each band of images that are not RGB, (B, C).

    It stands for saturation and hue, a change of color. A single band has no color: its factor is 1.
    """
    if bands == 1 or recipe.saturation == 0:
        return np.ones((len(draws), bands))
    low, high = max(0.0, 1 - recipe.saturation), 1 + recipe.saturation
    return low + (high - low) * uniforms(draws.key, DRAWN + bands)[:, DRAWN:]


def hue_rotations(turns: np.ndarray) -> np.ndarray:
    """Rotate RGB about its grey axis: matrices (B, 3, 3) by Rodrigues' formula; a third of a turn takes R to G."""
    angle = 2 * np.pi * turns[:, None, None]
    along = np.full((3, 3), 1 / 3)
    across = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    return along + np.cos(angle) * (np.eye(3) - along) + np.sin(angle) * across


def blur_kernels(draws: Draws, size: int) -> np.ndarray:
    """Compute Gaussian kernels of unit sum, (B, size), as torchvision's GaussianBlur samples them."""
    x = np.arange(size) - (size - 1) / 2
    kernels = np.exp(-0.5 * (x[None, :] / draws.blur_sigma[:, None]) ** 2)
    return kernels / kernels.sum(axis=1, keepdims=True)


def affine_maps(
    draws: Draws | None, count: int, crop: tuple[int, int], source: tuple[int, int], output: tuple[int, int]
) -> np.ndarray:
    """Compute maps from output pixel to source pixel, (B, 2, 3), for indices that count pixel centres from 0.

    The image is flipped, then turned, zoomed and shifted in the frame of the crop (so that a rotation stays one where
    the crop is no square), and then stretched to the output. `source` is the crop's size after area averaging.
    """
    crop_xy, source_xy, output_xy = (np.array(size[::-1], dtype=np.float64) for size in (crop, source, output))
    if draws is None:
        turn_back = np.broadcast_to(np.eye(2), (count, 2, 2))
        shift = np.zeros((count, 2))
    else:
        cos, sin = _exact_cos_sin(draws.angle + 90.0 * draws.quarter_turns)
        turn_back = np.stack([np.stack([cos, -sin], axis=-1), np.stack([sin, cos], axis=-1)], axis=-2)
        turn_back = turn_back / draws.zoom[:, None, None]
        flips = np.stack([np.where(draws.flip_horizontal, -1, 1), np.where(draws.flip_vertical, -1, 1)], axis=-1)
        turn_back = flips[:, :, None] * turn_back
        shift = np.stack([draws.shift_x, draws.shift_y], axis=-1) * output_xy
    linear = (source_xy / crop_xy)[None, :, None] * turn_back * (crop_xy / output_xy)[None, None, :]
    centre_out = (output_xy - 1) / 2 + shift
    offset = (source_xy - 1) / 2 - np.einsum("bij,bj->bi", linear, centre_out)
    return np.concatenate([linear, offset[:, :, None]], axis=2)


def _exact_cos_sin(degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Compute cosine and sine, exact at multiples of 90°, so that quarter turns move pixels without interpolating."""
    quarters = np.rint(degrees / 90.0)
    rest = np.deg2rad(degrees - 90.0 * quarters)
    cos, sin = np.cos(rest), np.sin(rest)
    quarter = quarters.astype(np.int64) % 4
    return np.choose(quarter, [cos, -sin, -cos, sin]), np.choose(quarter, [sin, cos, -sin, -cos])


def area_weights(source: int, output: int) -> np.ndarray:
    """Compute the weights of OpenCV's INTER_AREA, (output, source): they average pixels down by their overlap."""
    step = source / output
    edges = np.arange(output)[:, None] * step
    pixels = np.arange(source)[None, :]
    overlap = np.minimum(edges + step, pixels + 1) - np.maximum(edges, pixels)
    return np.clip(overlap, 0, None) / step


def per_band(recipe: Augmentation, name: str, bands: int) -> np.ndarray:
    """Return the recipe's ``mean`` or ``std`` for each band, (C,)."""
    given = getattr(recipe, name)
    if given is None:
        given = IMAGENET[name] if bands == 3 else (0.5,)
    if len(given) not in (1, bands):
        raise ConfigError(
            f"augment.{name} has {len(given)} values, but the images have {bands} band(s): give one value for each "
            f"band, a single one for all, such as augment.{name}=[0.5], or null for what suits their number."
        )
    return np.broadcast_to(np.asarray(given, dtype=np.float64), (bands,))
