"""What a file holds before its numbers become grey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Self

import numpy as np

from astroclf.data.catalog import Note

EIGHT_BIT = "8-bit"  # the kind of pictures whose numbers are grey values already
FITS = "FITS"  # the kind of all that FITS files hold, whatever type they keep it in: flux, in one unit


@dataclass(frozen=True)
class Values:
    """The numbers of an image, by pixel and band.

    Attributes
    ----------
    pixels_HWP
        (H, W, P) of any number type in native byte order, first row on top; NaN where a value is unknown.
    kind
        What the numbers are: `EIGHT_BIT`, ``FITS``, or a type such as ``uint16``, ``float``; ``uint12`` where a file
        declares 12 bits. How they become grey is decided for all numbers of a kind together.
    notes
        What was guessed, or strikes the eye, in reading them.
    pixel_scale_arcsec
        Arcseconds a pixel, where the file tells.
    """

    pixels_HWP: np.ndarray
    kind: str
    notes: tuple[Note, ...] = ()
    pixel_scale_arcsec: float | None = None

    def noted(self, *notes: Note) -> Self:
        """Return the same with more notes."""
        return replace(self, notes=(*self.notes, *notes))


def kind_of(dtype: np.dtype) -> str:
    """Name the kind of numbers of this type."""
    return EIGHT_BIT if dtype == np.uint8 else "float" if dtype.kind == "f" else dtype.name


def numbers(pixels: np.ndarray, *notes: Note) -> Values:
    """Take (H, W) or (H, W, P) numbers of any type and byte order for what they are."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    return Values(pixels[..., None] if pixels.ndim == 2 else pixels, kind_of(pixels.dtype), notes)


def array_numbers(pixels: np.ndarray) -> Values:
    """Take the numbers of an array for what they are, (H, W) or (H, W, P): booleans become black and white."""
    if pixels.dtype == bool:
        return numbers(pixels.astype(np.uint8) * 255)
    if pixels.dtype == np.float16:  # too coarse to compute with
        pixels = pixels.astype(np.float32)
    return numbers(pixels)


class Decoded(NamedTuple):
    """One image at its own size, and what is to be said of it."""

    image_HWC: np.ndarray  # uint8
    notes: tuple[Note, ...] = ()
