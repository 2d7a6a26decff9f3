"""One image that a model is asked about: where its numbers lie, and what is carried along with it."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np

from astroclf.errors import DataError, ImageError
from astroclf.inference.preparation import Preparation
from astroclf.util.threads import available_cores, run_ahead


class Rows(Protocol):
    """Images that lie together in one file, and are cheap to read together."""

    def slab_of(self, row: int) -> int:
        """Return the number of the part of the file that an image lies in."""
        ...

    def read(self, first: int, stop: int) -> np.ndarray:
        """Read the images [first, stop), (N, H, W) or (N, H, W, bands)."""
        ...


@dataclass(frozen=True, slots=True)
class Sample:
    """One image that a model is asked about.

    Attributes
    ----------
    name
        As the user wrote it, or as it was found below what the user wrote; of an array ``images.h5[17]``.
    files
        Its file, or one for each band; ``~`` is the home folder.
    stack, row
        Where it is one of the images in a file.
    carried
        What is known of it, by column.
    fault
        What is wrong with it before any file is opened.
    """

    name: str
    files: tuple[str, ...] = ()
    stack: Rows | None = None
    row: int = 0
    carried: Mapping[str, str] = field(default_factory=dict)
    fault: str = ""


@dataclass(frozen=True)
class Prepared:
    """Some samples as the model takes them.

    Attributes
    ----------
    samples
        In their order.
    images_NHWC
        (N, S, S, channels) uint8 of those that could be read.
    usable
        Their places among the samples, (N,) int.
    errors
        By place, what is wrong with each of the others.
    """

    samples: Sequence[Sample]
    images_NHWC: np.ndarray
    usable: np.ndarray
    errors: Mapping[int, str]


def in_blocks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    """Put samples together that are decoded together: at most `size`, or one part of a file of many images."""
    block: list[Sample] = []
    part: tuple[int, int] | None = None
    for sample in samples:
        own = None if sample.stack is None else (id(sample.stack), sample.stack.slab_of(sample.row))
        if block and (own != part or (own is None and len(block) >= size)):
            yield block
            block = []
        block.append(sample)
        part = own
    if block:
        yield block


def prepare(preparation: Preparation, samples: Sequence[Sample]) -> Prepared:
    """Decode samples as the model's training decoded its own; what cannot be read is said, and raises nothing."""
    images: list[np.ndarray] = []
    usable: list[int] = []
    errors: dict[int, str] = {}
    stored = _stored(samples)
    for place, sample in enumerate(samples):
        try:
            images.append(_decoded(preparation, sample, stored))
            usable.append(place)
        except DataError as error:
            errors[place] = str(error)
    size, channels = preparation.image_size, preparation.channels
    images_NHWC = np.stack(images) if images else np.zeros((0, size, size, channels), np.uint8)
    return Prepared(samples, images_NHWC, np.array(usable, dtype=np.int64), errors)


def prepare_ahead(
    preparation: Preparation, samples: Iterable[Sample], size: int, num_workers: int | None
) -> Generator[Prepared, None, None]:
    """Yield samples in blocks of about `size`, as `prepare` makes them; threads decode ahead, one a core by default."""
    blocks = run_ahead(partial(prepare, preparation), in_blocks(samples, size), num_workers or available_cores())
    with warnings.catch_warnings(action="ignore"), closing(blocks):  # decoders' remarks of single files
        yield from blocks


def decode(preparation: Preparation, sample: Sample) -> np.ndarray:
    """Decode one sample likewise, (S, S, channels) uint8.

    Raises
    ------
    DataError
        It cannot be read.
    """
    return _decoded(preparation, sample, _stored([sample]))


def _stored(samples: Sequence[Sample]) -> tuple[int, np.ndarray] | DataError:
    """Read the images of a block that lies in one file, with the number of the first, or say why they cannot be."""
    stack = samples[0].stack
    if stack is None:
        return 0, np.zeros(0)
    first = samples[0].row
    try:
        return first, stack.read(first, samples[-1].row + 1)
    except DataError as error:
        return error


def _decoded(preparation: Preparation, sample: Sample, stored: tuple[int, np.ndarray] | DataError) -> np.ndarray:
    if sample.fault:
        raise ImageError(sample.fault, "missing")
    if sample.stack is not None:
        if isinstance(stored, DataError):
            raise stored
        first, images = stored
        return preparation.array(images[sample.row - first], sample.name)
    if preparation.reading.fits.files:
        return preparation.band_files([Path(file).expanduser() for file in sample.files], sample.name)
    return preparation.file(Path(sample.files[0]).expanduser())


def identity(path: Path) -> str:
    """Return what tells one version of a file from another: its size and time."""
    status = path.stat()
    return f"{path.name}|{status.st_size}|{status.st_mtime_ns}"
