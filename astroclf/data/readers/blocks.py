"""What every reader does alike: images to a block with digests and thumbnails, and a fingerprint of the whole."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from astroclf.data.catalog import THUMBNAIL_SIDE, Block, DatasetReader, Fault, Note
from astroclf.data.decode.bands import MAX_CHANNELS, to_channels
from astroclf.data.decode.images import PREPARATION_VERSION, fit_square, to_picture
from astroclf.data.decode.original import Original
from astroclf.data.decode.tone import Tone, check_kind
from astroclf.data.decode.values import Decoded, Values
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


class ToneRules(ABC):
    """The part of a reader that makes numbers grey: by rules decided for its files, or by those of a trained model.

    Attributes
    ----------
    tones : mapping of str to Tone
        The rule of each kind of numbers; empty until they are decided.
    """

    reading: ReadSettings
    channels: int

    def __init__(self) -> None:
        self.tones: Mapping[str, Tone] = {}
        self._given = False

    def take_tones(self, tones: Mapping[str, Tone]) -> None:
        """Take these rules and decide none: numbers of a kind that has none are a fault of their file."""
        self.tones, self._given = dict(tones), True

    def decide_tones(self, num_workers: int) -> dict[str, dict[str, Any]]:
        """Look at some of the images, and decide how the numbers in all of them become grey."""
        if not self._given:
            self.tones = self._decided(num_workers)
        return {kind: tone.to_plain() for kind, tone in self.tones.items()}

    @abstractmethod
    def _decided(self, num_workers: int) -> Mapping[str, Tone]:
        """Decide by a sample of the images."""

    def _picture(self, cutout: Values, where: str) -> Decoded:
        if self._given:
            check_kind(cutout, self.tones, where)
        return to_picture(cutout, self.reading, self.channels, self.tones, where)

    @property
    def _given_tones(self) -> tuple[bytes, ...]:
        """What a fingerprint holds of rules that the files did not decide."""
        plain = {kind: tone.to_plain() for kind, tone in self.tones.items()}
        return (json.dumps(plain, sort_keys=True).encode(),) if self._given else ()


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
