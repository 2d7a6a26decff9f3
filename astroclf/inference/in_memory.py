"""What people hand over in Python, as images one by one: names of files, arrays, tensors, pictures, HDUs, bytes."""

from __future__ import annotations

import io
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image

from astroclf.data.decode.axes import FEW_PLANES
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.inference.inputs import REASONS_TOLD, Inputs, LeaveOut
from astroclf.inference.preparation import Preparation
from astroclf.inference.samples import Sample, decode


@dataclass(frozen=True)
class Given:
    """One image that somebody handed over; `read` prepares it, and takes what errors are to call it."""

    read: Callable[[str], np.ndarray]

    @classmethod
    def refused(cls, reason: str) -> Given:
        """Return what stands for no image, and says so when it is read."""

        def refuse(where: str) -> np.ndarray:
            raise ImageError(f"{where}: {reason}", "no image")

        return cls(refuse)


def images_of(given: Any, preparation: Preparation) -> Iterator[Given]:
    """Yield the images of whatever is handed over, in order.

    Parameters
    ----------
    given
        A path, glob, folder, table or file of many images, as for the verb ``predict``; the bytes of a file; an array
        of numbers, (H, W), (H, W, bands), (N, H, W) or (N, H, W, bands); a tensor, (bands, H, W) or (B, bands, H, W),
        or with bands last where its shape leaves no doubt; a Pillow image; an HDU or HDUList of astropy; or any number
        of these. What is none of them, or can be read in two ways, is refused when it is read.
    """
    if isinstance(given, Given):
        yield given
    elif isinstance(given, str | os.PathLike):
        yield from _of_words([os.fspath(given)], preparation)
    elif isinstance(given, bytes | bytearray | memoryview):
        content = bytes(given)
        yield Given(lambda where: preparation.encoded(content, where))
    elif isinstance(given, Image.Image):
        yield Given(lambda where: preparation.picture(given, where))
    elif type(given).__module__.startswith("astropy.io.fits"):
        yield _of_fits(given, preparation)
    elif isinstance(given, torch.Tensor):
        plain = given.detach().cpu()
        pixels = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
        yield from _of_numbers(pixels, preparation, is_tensor=True)
    elif hasattr(given, "__array__"):
        yield from _of_array(given, preparation)
    elif isinstance(given, Sequence) and _is_nested_numbers(given):
        yield from _of_array(np.asarray(given), preparation)
    elif isinstance(given, Iterable) and not isinstance(given, dict):
        items = list(given) if preparation.reading.fits.files else given
        if preparation.reading.fits.files and items and all(isinstance(item, str | os.PathLike) for item in items):
            yield from _of_words([os.fspath(item) for item in items], preparation)  # together they are the bands
            return
        for item in items:
            yield from images_of(item, preparation)
    else:
        yield Given.refused(
            f"a {type(given).__name__} is no image: give paths, bytes of files, arrays, tensors, Pillow images or HDUs."
        )


def _of_words(words: Sequence[str], preparation: Preparation) -> Iterator[Given]:
    """Yield the images that names stand for, as the verb ``predict`` finds them: files, folders, patterns, tables."""
    left_out: LeaveOut = Counter()
    is_empty = True
    try:
        for sample in Inputs(words, preparation.reading, preparation.channels).samples(left_out):
            is_empty = False
            yield _of_sample(sample, preparation)
    except (ConfigError, DataError) as error:
        yield Given.refused(str(error).removeprefix("inputs="))
        return
    if is_empty:
        reasons = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common(REASONS_TOLD))
        yield Given.refused(f"{', '.join(words)[:200]}: there is no image{f' ({reasons})' if reasons else ''}.")


def _of_sample(sample: Sample, preparation: Preparation) -> Given:
    return Given(lambda where: decode(preparation, sample))


def _of_fits(given: Any, preparation: Preparation) -> Given:
    """Take an HDU for the image, and an HDUList for the file that it would be."""
    if not isinstance(given, list):
        return Given(lambda where: preparation.hdu(given, where))
    hdus: Any = given

    def read(where: str) -> np.ndarray:
        content = io.BytesIO()
        hdus.writeto(content, output_verify="silentfix", checksum=False)
        return preparation.encoded(content.getvalue(), where)

    return Given(read)


def _of_array(given: Any, preparation: Preparation) -> Iterator[Given]:
    if isinstance(given, np.ma.MaskedArray) and np.ma.is_masked(given):
        if given.dtype.kind != "f":
            yield Given.refused(f"a masked array of {given.dtype}, which has no number for what is masked: use floats.")
            return
        given = given.filled(np.nan)
    pixels = np.asarray(given)
    if pixels.dtype.kind in "OUS":  # names, bytes, arrays of several sizes
        yield from images_of(pixels.reshape(-1).tolist(), preparation)
    else:
        yield from _of_numbers(pixels, preparation, is_tensor=False)


def _of_numbers(pixels: np.ndarray, preparation: Preparation, *, is_tensor: bool) -> Iterator[Given]:
    """Yield the images of one array: which of its axes are bands, its shape tells."""
    try:
        bands_axis = _bands_axis(pixels.shape, preparation.channels, is_tensor=is_tensor)
    except DataError as error:
        yield Given.refused(str(error))
        return
    if bands_axis is not None:
        pixels = np.moveaxis(pixels, bands_axis, -1)
    is_one = pixels.ndim < (3 if bands_axis is None else 4)
    for image in (pixels,) if is_one else pixels:
        yield _of_pixels(image, preparation)


def _of_pixels(pixels: np.ndarray, preparation: Preparation) -> Given:
    return Given(lambda where: preparation.array(pixels, where))


def _bands_axis(shape: tuple[int, ...], channels: int, *, is_tensor: bool) -> int | None:
    """Find the axis of one image or of many that holds bands; None: there is none, each image is grey."""
    if len(shape) not in (3, 4):
        return None
    first, last = len(shape) - 3, len(shape) - 1
    can_be = [axis for axis in (first, last) if shape[axis] <= FEW_PLANES or shape[axis] == channels]
    kind = f"{'a tensor' if is_tensor else 'an array'} of shape {shape}"
    if is_tensor:
        if can_be == [first, last]:
            raise DataError(f"{kind} can have its bands first or last: give it as numpy array, with bands last.")
        return can_be[0] if can_be else first
    if len(shape) == 4:
        return can_be[-1] if can_be else last
    if can_be == [first] and shape[first] > 1:
        raise DataError(
            f"{kind} can be {shape[0]} grey images, or one whose {shape[0]} bands come first. Give [..., None] of it "
            f"for the former, np.moveaxis(…, 0, -1) for the latter."
        )
    return last if last in can_be else None


def _is_nested_numbers(given: Sequence[Any]) -> bool:
    inner: Any = given
    while isinstance(inner, list | tuple) and inner:
        inner = inner[0]
    return isinstance(inner, int | float | np.number)
