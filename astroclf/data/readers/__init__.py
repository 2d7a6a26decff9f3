"""Where samples come from: one file a data format, and what all of them share."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from astroclf.data.catalog import Block, Catalog, Fault
from astroclf.data.decode.bands import MAX_CHANNELS
from astroclf.data.decode.images import fit_square, to_channels
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.util.text import closest

THUMBNAIL = 64  # pixels a side: enough to tell two galaxies apart, and a copy from its original


def decode_rows(rows: range, decode: Callable[[int], np.ndarray], image_size: int, channels: int) -> Block:
    """The block of these rows, image by image.

    Parameters
    ----------
    decode
        Gives the image of a row at its own size, (H, W, C) uint8, or raises `ImageError`.
    image_size, channels
        What is stored of it.
    """
    images = np.zeros((len(rows), image_size, image_size, channels), np.uint8)
    thumbnails = np.zeros((len(rows), THUMBNAIL, THUMBNAIL), np.uint8)
    digests = [""] * len(rows)
    faults: dict[int, Fault] = {}
    for position, row in enumerate(rows):
        try:
            image = decode(row)
        except ImageError as error:
            faults[row] = Fault(str(error), error.kind)
            continue
        digests[position] = pixel_digest(image)
        thumbnails[position] = thumbnail(image)
        images[position] = fit_square(to_channels(image, channels), image_size)
    return Block(images, thumbnails, digests, faults)


def pixel_digest(image: np.ndarray) -> str:
    """128-bit hex digest of an image's shape and pixels."""
    digest = hashlib.blake2b(repr(image.shape).encode(), digest_size=16)
    digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()


def thumbnail(image_HWC: np.ndarray) -> np.ndarray:
    """A small grey square picture of the whole image, (THUMBNAIL, THUMBNAIL) uint8, by which copies are recognised."""
    small = fit_square(image_HWC, THUMBNAIL)
    return to_channels(small, 1)[..., 0] if small.shape[2] in (1, 3) else np.rint(small.mean(axis=2)).astype(np.uint8)


def class_key(name: str) -> str:
    """What two spellings of a class name have in common: ``Black Hole``, ``black_hole`` and ``black-hole`` are one."""
    return re.sub(r"[\s_-]+", " ", name).strip().casefold()


def nearest(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the known one most like it, or a full stop."""
    close = closest(name, known, class_key)
    return f"; did you mean `{close[0]}`?" if close else "."


def unique_names(names: Sequence[str], key: str) -> tuple[str, ...]:
    """`names` as a tuple; one that is there twice is a ConfigError naming the config key."""
    seen: dict[str, str] = {}
    for name in map(str, names):
        if class_key(name) in seen:
            raise ConfigError(f"{key} names the class `{name}` twice.")
        seen[class_key(name)] = name
    return tuple(seen.values())


def check_size(image_size: int, channels: int) -> None:
    """Refuse sizes that no image can be prepared to."""
    if not 1 <= image_size <= 8192:
        raise ConfigError(f"dataset.image_size={image_size} is not a number of pixels from 1 to 8192.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ConfigError(f"dataset.channels={channels} is not a number of bands from 1 to {MAX_CHANNELS}.")


def choose_classes(
    known: Sequence[str], classes: Sequence[str] | None, exclude_classes: Sequence[str], where: str
) -> tuple[str, ...]:
    """The classes to use, in label order: `classes` in the order given (None: all known), less the excluded.

    Raises
    ------
    DataError
        A name that `where` does not have, or no class left.
    """
    by_key = {class_key(k): k for k in known}
    for key, names in (("dataset.classes", classes or ()), ("dataset.exclude_classes", exclude_classes)):
        for name in unique_names(names, key):
            if class_key(name) not in by_key:
                raise DataError(
                    f"{key} names `{name}`, but {where} has the classes {', '.join(known)}{nearest(name, known)}"
                )
    excluded = {class_key(name) for name in exclude_classes}
    wanted = known if classes is None else classes
    chosen = tuple(by_key[class_key(name)] for name in wanted if class_key(name) not in excluded)
    if not chosen:
        raise DataError(f"dataset.exclude_classes leaves no class of {where}: at least one must stay.")
    return chosen


def reader_fingerprint(kind: str, catalog: Catalog, settings: Mapping[str, Any], *identity: bytes) -> str:
    """Hex digest of a reader: its kind, catalog, every setting that changes a pixel, and the identity of its files."""
    digest = hashlib.sha256(kind.encode())
    digest.update(json.dumps([catalog.classes, dict(settings)], sort_keys=True, default=str).encode())
    for field in fields(catalog):
        column = getattr(catalog, field.name)
        if isinstance(column, np.ndarray):
            digest.update(f"|{field.name}|{column.dtype.str}|".encode() + np.ascontiguousarray(column).tobytes())
    for part in identity:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
