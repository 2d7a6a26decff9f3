"""The contract between files and all above them: a data set's catalog, its reader, and the blocks that it decodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

SPLITS = ("train", "val", "test")
# What files of samples may call them; the empty name leaves the choice to us.
SPLIT_SPELLINGS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test", "": ""}
THUMBNAIL_SIDE = 64  # pixels: enough to tell two galaxies apart, and a copy from its original


@dataclass(frozen=True)
class Catalog:
    """The samples of a data set, row by row, before a pixel is read.

    Attributes
    ----------
    ids
        (N,) str: stable, unique names, the path inside the data set's folder, or ``row-000017`` of a file.
    labels
        (N,) int64: index into `classes`.
    classes
        Class names in label order.
    ra_deg, dec_deg
        (N,) float64: sky position (ICRS, degrees); NaN where unknown.
    simulated
        (N,) bool: there is nothing to be seen at that position, for the sample was drawn by a program.
    split
        (N,) str: the split given by the data set, one of `SPLITS`; empty where it leaves the choice to us.
    group
        (N,) str: samples with the same non-empty group must stay in one split.
    votes
        (N, C) float32: the share of each class in the votes on a sample; every row sums to 1.
    """

    ids: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    ra_deg: np.ndarray | None = None
    dec_deg: np.ndarray | None = None
    simulated: np.ndarray | None = None
    split: np.ndarray | None = None
    group: np.ndarray | None = None
    votes: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def take(self, rows: Sequence[int] | np.ndarray) -> Catalog:
        """Return the catalog of these rows alone, in this order."""
        columns = {
            f.name: getattr(self, f.name)[rows]
            for f in fields(self)
            if f.name != "classes" and getattr(self, f.name) is not None
        }
        return replace(self, **columns)

    def places_on_sky(self) -> tuple[np.ndarray | None, np.ndarray | None]:
        """Return where on the sky each sample can be looked at, as `ra_deg` and `dec_deg`: simulated ones nowhere."""
        if self.ra_deg is None or self.dec_deg is None or self.simulated is None:
            return self.ra_deg, self.dec_deg
        return np.where(self.simulated, np.nan, self.ra_deg), np.where(self.simulated, np.nan, self.dec_deg)

    def class_counts(self, rows: np.ndarray | None = None) -> np.ndarray:
        """Count the samples of each class, (C,) int64, over all rows or the given ones."""
        labels = self.labels if rows is None else self.labels[rows]
        return np.bincount(labels, minlength=len(self.classes))


class Fault(NamedTuple):
    """The reason why an image could not be read."""

    message: str  # one paragraph naming the file
    kind: str  # of `ImageError`, by which faults are counted


class Note(NamedTuple):
    """What was guessed in reading an image, or strikes the eye: it is used, and said."""

    kind: str  # of a finding of `check`, by which notes are counted
    message: str  # one sentence naming the file


class LeftOut(NamedTuple):
    """A file of a data set's folder, or a row of its table, that is no sample."""

    name: str  # path inside the folder, or file and line
    reason: str  # a few words by which they are counted, such as ``hidden``, ``no image format``


class Source(NamedTuple):
    """Where the numbers of one sample lie, for whoever wants to look at them without its reader."""

    files: tuple[Path, ...]  # one, or one a band
    row: int | None = None  # of an array of all images; None: the file is of this sample alone
    array: str = ""  # its name, in a file of several


class Block(NamedTuple):
    """Decoded images of B consecutive rows, as `astroclf.data.readers.blocks.decode_rows` makes it.

    Digests and thumbnails are of the source (see `astroclf.data.decode.original`), and the same whatever its images are
    prepared to. The digests are empty text where there is a fault.
    """

    images_BHWC: np.ndarray  # uint8; rows named in `faults` are zeros
    thumbnails_BTT: np.ndarray  # uint8, grey, T = THUMBNAIL_SIDE
    digests: list[str]  # hex, of the source's content: splits are drawn from it
    pixel_digests: list[str]  # hex, of the numbers in it: copies are found by them
    faults: dict[int, Fault]  # by row
    notes: dict[int, tuple[Note, ...]]  # by row


class DatasetReader(Protocol):
    """A data set's way from files on disk to prepared uint8 images: one class a file format, in `data/readers`.

    A reader may have more: `HasLeftOut`, `HasSources`, `HasTones`, `TakesTones`, or `HasFacts` of `decode.headers`.
    """

    catalog: Catalog
    image_size: int
    channels: int

    def fingerprint(self) -> str:
        """Return a hex digest of the files' identity and of every setting that changes a pixel or a label."""
        ...

    def blocks(self) -> list[range]:
        """List ranges of rows that are cheap to read at once; together they cover the catalog in order."""
        ...

    def read(self, rows: range) -> Block:
        """Decode one block to (len(rows), image_size, image_size, channels); called from several threads."""
        ...


@runtime_checkable
class HasLeftOut(Protocol):
    """A reader that accounts for what lies in its folder and is no sample."""

    left_out: Sequence[LeftOut]


@runtime_checkable
class HasSources(Protocol):
    """A reader that can say where each of its samples lies."""

    def source(self, row: int) -> Source:
        """Return the place of a row's numbers."""
        ...


@runtime_checkable
class HasTones(Protocol):
    """A reader that decides once, for all files, how numbers become grey."""

    def decide_tones(self, num_workers: int) -> dict[str, dict[str, Any]]:
        """Look at a sample of the files, and decide; `read` then goes by it.

        Returns
        -------
        dict
            The `Tone` of each kind of numbers, as plain values. Equal for equal files and settings: the fingerprint of
            the reader need not contain it.
        """
        ...


@runtime_checkable
class TakesTones(Protocol):
    """A reader to which a trained model can say how numbers become grey."""

    def take_tones(self, tones: Mapping[str, Any]) -> None:
        """Take the `Tone` of each kind of numbers, and decide none; the fingerprint contains them."""
        ...
