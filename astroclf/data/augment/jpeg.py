"""What JPEG loses at a quality, computed from whole numbers alone, so that every device loses the same.

Quantisation tables and their scaling are those of libjpeg (ITU-T T.81, annex K), and color is halved both ways, as
in nearly all files. The steps between differ a little: of what libjpeg makes, grey pictures are 0.5 of 255 away in
the mean, color pictures 2, since libjpeg draws color smoothly between its halved pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Generic, NamedTuple, TypeVar

import numpy as np

# A tensor or an array: what is used of it here is written alike for both.
Array = TypeVar("Array", bound=Any)

BLOCK = 8
LUMA = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
CHROMA = np.full((BLOCK, BLOCK), 99)
CHROMA[:4, :4] = [[17, 18, 24, 47], [18, 21, 26, 66], [24, 26, 56, 99], [47, 66, 99, 99]]

# All that follow are whole numbers over powers of two, so coarse that each product and sum below has less than 24 bits:
# float32 then counts exactly, in any order.
_FREQUENCY, _PLACE = np.mgrid[:BLOCK, :BLOCK]
_COSINES = np.cos((2 * _PLACE + 1) * _FREQUENCY * np.pi / (2 * BLOCK))
_UNITS = np.where(_FREQUENCY == 0, 8**-0.5, 0.5)
BASIS = np.rint(_COSINES * _UNITS * 2**10) / 2**10  # of the cosine transform, (frequency, place)
BETWEEN = 4  # the first of its two passes is rounded to quarters
RECIPROCALS = 2**12
TO_YCBCR = np.array([[77, 150, 29], [-43, -85, 128], [128, -107, -21]]) / 2**8
TO_RGB = np.array([[256, 0, 359], [256, -88, -183], [256, 454, 0]]) / 2**8


def steps_of(quality: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the quantisation steps of brightness and of color at qualities 1 to 100, each (B, 8, 8)."""
    percent = np.where(quality < 50, 5000 // np.maximum(quality, 1), 200 - 2 * quality)[:, None, None]
    luma, chroma = (np.clip((table * percent + 50) // 100, 1, 255) for table in (LUMA, CHROMA))
    return luma, chroma


class Tables(NamedTuple, Generic[Array]):
    """What a compression computes with, all arrays or all tensors, of a floating-point type."""

    places: Callable[[tuple[int, ...]], Array]  # an index of these places along an axis
    basis: Array
    to_ycbcr: Array
    to_rgb: Array
    luma_B88: Array
    chroma_B88: Array


def tables_of(quality_B: np.ndarray, dtype: type) -> Tables[np.ndarray]:
    """Return the tables of images with these qualities, 1 to 100, as arrays of a type."""
    tables: Iterator[np.ndarray] = (table.astype(dtype) for table in (BASIS, TO_YCBCR, TO_RGB, *steps_of(quality_B)))
    return Tables(np.array, *tables)


def compress(planes_BCHW: Array, tables: Tables[Array]) -> Array:
    """Return the images as their JPEG files would show them, (B, C, H, W) whole numbers 0 to 255.

    Parameters
    ----------
    planes_BCHW
        Whole numbers 0 to 255, of the kind and type of the tables. Three planes are red, green, blue; any other number
        are as many grey pictures.
    """
    shifted = planes_BCHW - 128
    count, bands, height, width = shifted.shape
    if bands != 3:
        return (_quantised(shifted, tables, tables.luma_B88) + 128).clip(0, 255)
    parts = (tables.to_ycbcr @ shifted.reshape(count, 3, -1)).round().reshape(shifted.shape)
    parts[:, :1] = _quantised(parts[:, :1], tables, tables.luma_B88)
    colors = _quantised(_halved(parts[:, 1:], tables), tables, tables.chroma_B88)
    parts[:, 1:] = _doubled(colors, tables, height, width)
    shown = (tables.to_rgb @ parts.reshape(count, 3, -1)).round() + 128
    return shown.clip(0, 255).reshape(shifted.shape)


def _quantised(planes_BCHW: Array, tables: Tables[Array], steps_B88: Array) -> Array:
    """Return what is left of values -128 to 127 once the coefficients of each block are whole steps."""
    height, width = planes_BCHW.shape[2:]
    whole = _widened(planes_BCHW, tables, -height % BLOCK, -width % BLOCK)
    count, bands, high, wide = whole.shape
    blocks = whole.reshape(count, bands * high // BLOCK, BLOCK, wide // BLOCK, BLOCK)
    halves = _along_both(blocks, tables.basis.T, 2)
    steps = steps_B88[:, None, :, None].swapaxes(2, 4)  # the two axes of a block come back exchanged
    # By reciprocals over a power of two: a division would be rounded otherwise in another format.
    reciprocals = (RECIPROCALS / steps).round() / (2 * RECIPROCALS)
    shown = _along_both((halves * reciprocals).round() * steps, tables.basis, 1)
    return shown.reshape(count, bands, high, wide)[:, :, :height, :width].clip(-128, 127)


def _along_both(blocks: Array, matrix: Array, parts: int) -> Array:
    """Apply the matrix to the last axis, exchange it with the third, and do so again; count in parts of one."""
    once = _along_last(blocks, matrix * BETWEEN).round()
    return _along_last(once.swapaxes(2, 4), matrix * (parts / BETWEEN)).round()


def _along_last(blocks: Array, matrix: Array) -> Array:
    return (blocks.reshape(-1, BLOCK) @ matrix).reshape(blocks.shape)


def _widened(planes_BCHW: Array, tables: Tables[Array], rows: int, columns: int) -> Array:
    """Add copies of the last row and column, as files whose sides are no multiple of a block do."""
    height, width = planes_BCHW.shape[2:]
    if rows:
        planes_BCHW = planes_BCHW[:, :, tables.places((*range(height), *[height - 1] * rows))]
    if columns:
        planes_BCHW = planes_BCHW[:, :, :, tables.places((*range(width), *[width - 1] * columns))]
    return planes_BCHW


def _halved(planes_BCHW: Array, tables: Tables[Array]) -> Array:
    height, width = planes_BCHW.shape[2:]
    even = _widened(planes_BCHW, tables, height % 2, width % 2)
    total = even[:, :, ::2, ::2] + even[:, :, 1::2, ::2] + even[:, :, ::2, 1::2] + even[:, :, 1::2, 1::2]
    return (total / 4).round()


def _doubled(planes_BCHW: Array, tables: Tables[Array], height: int, width: int) -> Array:
    rows, columns = (tables.places(tuple(k // 2 for k in range(side))) for side in (height, width))
    return planes_BCHW[:, :, rows][:, :, :, columns]
