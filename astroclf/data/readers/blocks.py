"""What every reader does alike: images to a block with digests and thumbnails, and a fingerprint of the whole."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from astroclf.data.catalog import THUMBNAIL_SIDE, Block, DatasetReader, Fault, Note
from astroclf.data.decode.bands import MAX_CHANNELS, to_channels
from astroclf.data.decode.images import PREPARATION_VERSION, fit_square
from astroclf.data.decode.original import Original
from astroclf.data.decode.values import Decoded
from astroclf.errors import ConfigError, ImageError
from astroclf.settings.reading import ReadSettings


def check_size(image_size: int, channels: int) -> None:
    """Refuse sizes that no image can be prepared to."""
    if not 1 <= image_size <= 8192:
        raise ConfigError(f"dataset.image_size={image_size} is not a number of pixels from 1 to 8192.")
    if not 1 <= channels <= MAX_CHANNELS:
        raise ConfigError(f"dataset.channels={channels} is not a number of bands from 1 to {MAX_CHANNELS}.")


def decode_rows(
    rows: range,
    decode: Callable[[int], tuple[Decoded, Original]],
    where: Callable[[int], str],
    image_size: int,
    channels: int,
) -> Block:
    """Decode rows one by one to a block; images that cannot be read, or show nothing at all, are its faults.

    Parameters
    ----------
    decode
        Gives the image of a row, and what its source is whatever is made of it; or raises `ImageError`.
    where
        Names the file of a row, in errors.
    image_size, channels
        What the images are prepared to.
    """
    images = np.zeros((len(rows), image_size, image_size, channels), np.uint8)
    thumbnails = np.zeros((len(rows), THUMBNAIL_SIDE, THUMBNAIL_SIDE), np.uint8)
    digests, pixel_digests = [""] * len(rows), [""] * len(rows)
    faults: dict[int, Fault] = {}
    notes: dict[int, tuple[Note, ...]] = {}
    for position, row in enumerate(rows):
        try:
            (image, said), original = decode(row)
            if (image == image[0, 0]).all():
                raise ImageError(f"{where(row)}: the image is constant: every pixel comes out the same.", "constant")
        except ImageError as error:
            faults[row] = Fault(str(error), error.kind)
            continue
        if said:
            notes[row] = said
        digests[position], pixel_digests[position], thumbnails[position] = original
        images[position] = fit_square(to_channels(image, channels), image_size)
    return Block(images, thumbnails, digests, pixel_digests, faults, notes)


def reader_fingerprint(kind: str, reader: DatasetReader, *identity: bytes, reading: ReadSettings | None = None) -> str:
    """Return a hex digest of a reader's kind, catalog, all that changes a pixel, and the identity of its files.

    Parameters
    ----------
    identity
        What tells one version of a file from another, of each file.
    reading
        How a file becomes a picture, where the reader lets that be chosen.
    """
    catalog, digest = reader.catalog, hashlib.sha256(kind.encode())
    settings: dict[str, Any] = {
        "image_size": reader.image_size,
        "channels": reader.channels,
        "preparation": PREPARATION_VERSION,
    }
    if reading is not None:
        settings["reading"] = reading.to_plain()
    digest.update(json.dumps([catalog.classes, settings], sort_keys=True, default=str).encode())
    for field in fields(catalog):
        column = getattr(catalog, field.name)
        if isinstance(column, np.ndarray):
            digest.update(f"|{field.name}|{column.dtype.str}|".encode() + np.ascontiguousarray(column).tobytes())
    for part in identity:
        digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()
