"""Which axes of an array are rows and columns, and which of its planes become bands: for FITS, TIFF and npy files.

A header that names its axes decides. Without one, the axis that can hold colors or channels decides; where two can, or
none, the custom of the format does, and a note says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.limits import size_text
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings

COLLAPSE_FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "mean": np.nanmean,
    "median": np.nanmedian,
    "max": np.nanmax,
}
COLLAPSE_VALUES = 2**22  # numbers that are collapsed at once: numpy copies them twice
FEW_PLANES = 4  # colors, and transparency or a fourth filter: so many planes need no name to be known as such
STOKES = "STOKES"
# CTYPE before its first hyphen, as in RA---TAN; longitudes and latitudes besides: GLON, GLAT, HPLN, HPLT.
SKY_AXES = ("RA", "DEC", "X", "Y", "HPLN", "HPLT", "CRLN", "CRLT")
PLANE_AXES = (
    *(STOKES, "FREQ", "FREQUENCY", "VELO", "VELOCITY", "FELO", "VRAD", "VOPT", "ZOPT", "BETA"),
    *("WAVE", "WAVELENGTH", "LAMBDA", "AWAV", "WAVN", "ENER", "ENERGY", "TIME", "UTC", "BAND", "FILTER", "COLOR"),
)


class AxisNames(NamedTuple):
    """What a header says of an array's axes.

    Attributes
    ----------
    names
        CTYPE of each axis in the order of the array, the slowest first; empty text where there is none.
    stokes_i
        Where on the Stokes axis the total intensity lies; None: the header says that it is not there.
    """

    names: tuple[str, ...] = ()
    stokes_i: int | None = 0


class Planes(NamedTuple):
    """An array whose first axis is planes, and what was guessed of it."""

    values_PHW: np.ndarray
    notes: tuple[Note, ...] = ()


def planes_first(
    values: np.ndarray,
    channels: int,
    where: object,
    custom: Literal["first", "last", "smallest"],
    header: AxisNames | None = None,
) -> Planes:
    """Bring an array of two or more axes to (P, H, W); a view where possible.

    Axes of length one are dropped beyond the second. Of Stokes parameters, the total intensity I is taken, unless
    there are as many of them as `channels`.

    Parameters
    ----------
    channels
        How many bands are wanted: an axis of this length can hold them.
    custom
        Where planes lie in this format if nothing tells: on the first axis, the last, or the shorter of both.
    header
        Names of the axes, where the file has them.

    Raises
    ------
    ImageError
        More axes are left than planes, rows and columns.
    """
    header = header or AxisNames()
    names = [_head(name) for name in header.names] if len(header.names) == values.ndim else [""] * values.ndim
    notes: list[Note] = []
    shape = values.shape
    if STOKES in names and values.ndim > 2:
        axis = names.index(STOKES)
        others = sum(length > 1 for length in shape) - (shape[axis] > 1)
        if shape[axis] > 1 and (others > 2 or shape[axis] != channels or channels == 3):
            index = header.stokes_i if header.stokes_i is not None and 0 <= header.stokes_i < shape[axis] else None
            values = np.take(values, [index or 0], axis)
            taken = "I" if index is not None else "the first (I is not among them)"
            notes.append(Note("Stokes", f"{where}: of {shape[axis]} Stokes parameters, {taken} is taken."))
    while values.ndim > 2 and 1 in values.shape:
        # Not an axis of the sky, where another can go: a strip one pixel wide is an image.
        ones = [axis for axis, length in enumerate(values.shape) if length == 1]
        axis = min(ones, key=lambda axis: (_is_sky(names[axis]), axis))
        values = np.squeeze(values, axis)
        del names[axis]
    if values.ndim > 3:
        raise ImageError(f"{where}: the image has {values.ndim} axes ({size_text(values.shape)}).", "no image")
    if values.ndim == 2:
        return Planes(values[None], tuple(notes))
    axis, certain = _plane_axis(values.shape, names, channels, custom)
    values = np.moveaxis(values, axis, 0)
    if not certain:
        text = f"{size_text(shape)} numbers, whose axes have no names, are taken as {_planes_text(values.shape)}"
        notes.append(Note("guessed axes", f"{where}: {text}."))
    return Planes(values, tuple(notes))


def upright(values: np.ndarray, orientation: int, rows: int = 0) -> np.ndarray:
    """Undo an orientation as EXIF and TIFF number them, 1 to 8: a view. Axis `rows` and the next make the picture."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(rows, rows + 1)
    if orientation in (3, 4, 7, 8):
        values = np.flip(values, rows)
    if orientation in (2, 3, 6, 7):
        values = np.flip(values, rows + 1)
    return values


def choose_planes(values_PHW: np.ndarray, settings: ReadSettings, kept: set[int], where: object) -> np.ndarray:
    """Take the planes that ``dataset.planes`` names, or all if their number is in `kept`; else collapse them to one.

    Raises
    ------
    ImageError
        There is no such plane.
    """
    if settings.planes:
        check_planes(len(values_PHW), settings.planes, where)
        return values_PHW[settings.planes]
    return values_PHW if len(values_PHW) in kept else _collapsed(values_PHW, settings)[None]


def check_planes(count: int, planes: Sequence[int], where: object) -> None:
    """Refuse planes that an image of so many does not have."""
    if max(planes) >= count:
        raise ImageError(
            f"{where}: there is no plane {max(planes)} (dataset.planes); the image has {count}, counted from 0.",
            "wrong bands",
        )


def _collapsed(cube_PHW: np.ndarray, settings: ReadSettings) -> np.ndarray:
    """Collapse a cube to one image of the same type, over the known values of each pixel; NaN where there is none."""
    collapse = COLLAPSE_FUNCTIONS[settings.collapse]
    whole = cube_PHW.dtype.kind in "iu"
    collapsed_HW = np.zeros(cube_PHW.shape[1:], cube_PHW.dtype)
    rows = max(1, COLLAPSE_VALUES // max(1, cube_PHW[:, 0].size))
    for start in range(0, cube_PHW.shape[1], rows):
        part, target = cube_PHW[:, start : start + rows], collapsed_HW[start : start + rows]
        if whole:
            result = collapse(part, axis=0)
            target[:] = np.rint(result) if result.dtype.kind == "f" else result
            continue
        seen = np.isfinite(part).any(axis=0)
        target[~seen] = np.nan
        target[seen] = collapse(part[:, seen], axis=0)
    return collapsed_HW


def _plane_axis(
    shape: Sequence[int], names: Sequence[str], channels: int, custom: Literal["first", "last", "smallest"]
) -> tuple[int, bool]:
    """Choose the axis of three that holds planes, and say if that is certain."""
    sky = [axis for axis in range(3) if _is_sky(names[axis])]
    named = [axis for axis in range(3) if names[axis] in PLANE_AXES]
    if len(sky) == 2:
        return next(axis for axis in range(3) if axis not in sky), True
    if len(named) == 1:
        return named[0], True
    ends = (0, 2)
    few = [axis for axis in ends if _can_be_bands(shape, axis, channels)]
    if len(few) == 1:
        return few[0], True
    if custom == "smallest":
        return (0 if shape[0] < shape[2] else 2), False
    axis = {"first": 0, "last": 2}[custom]
    # By the custom of the format, and the numbers do not contradict it.
    return axis, not few and FEW_PLANES < shape[axis] <= min(shape)


def _can_be_bands(shape: Sequence[int], axis: int, channels: int) -> bool:
    others = [length for place, length in enumerate(shape) if place != axis]
    few = shape[axis] <= FEW_PLANES or (channels > 1 and shape[axis] == channels)
    return few and shape[axis] < min(others)


def _head(name: str) -> str:
    return name.upper().split("-")[0].strip()


def _is_sky(head: str) -> bool:
    return head in SKY_AXES or head[1:] in ("LON", "LAT")


def _planes_text(shape: Sequence[int]) -> str:
    planes = "1 plane" if shape[0] == 1 else f"{shape[0]} planes"
    return f"{planes} of {shape[1]} x {shape[2]} (rows x columns)"
