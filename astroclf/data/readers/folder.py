"""Picture files in class-named folders, or listed in a ``metadata.csv``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.data.catalog import Block, Catalog, Source
from astroclf.data.decode.headers import FileFacts, file_facts
from astroclf.data.decode.images import PREPARATION_VERSION, is_image, read_bands, read_values, to_picture
from astroclf.data.decode.limits import one_large_at_a_time
from astroclf.data.decode.tone import Tone, decide_tones
from astroclf.data.decode.values import Decoded, Values
from astroclf.data.readers.array_files import HDF5_SUFFIXES
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.blocks import check_size, decode_rows, reader_fingerprint
from astroclf.data.readers.classes import choose_classes, class_key, unique_names
from astroclf.data.readers.editions import choose_reader
from astroclf.data.readers.tables import Listing, read_metadata
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.settings.fits import FitsSettings, is_fits
from astroclf.settings.reading import ReadSettings
from astroclf.settings.tone import ToneSettings
from astroclf.util.logs import log
from astroclf.util.text import did_you_mean
from astroclf.util.threads import run_ahead

METADATA_FILE = "metadata.csv"
BLOCK_BYTES = 32 * 2**20
BLOCK_ROWS = 32
UNUSED_SHOWN = 3
TONE_SAMPLE = 200  # files, spread evenly over the data set, by which it is decided how numbers become grey
ALWAYS_UNSIGNED = ("BMP", "GIF", "JPEG", "PNG", "WEBP")  # 8 bits of these formats are grey values: no need to decode


class ClassFolder:
    """A folder of JPEG, PNG, WebP, TIFF and FITS files of any size and mode, as a `DatasetReader`.

    Either every class is a subfolder (files may lie deeper in it), or a ``metadata.csv`` lists the files with the
    columns path, label and, if known, split, group, ra, dec. Sample ids are paths relative to the folder. With
    ``fits.files``, a sample is several FITS files, one a band, and its id is what their paths share: see `BandFiles`.

    Parameters
    ----------
    path
        The folder.
    classes
        Class names in label order, each of which must have files; or ``found``: whatever classes are there, sorted.
        Spellings that differ in case, spaces, hyphens and underscores are the same class.
    image_size
        Side of the prepared images in pixels: the longest side is scaled to it, the rest padded with zeros.
    exclude_classes
        Leave these classes out; their folders may be there.
    channels
        3 (RGB), 1 (grey), or the number of bands of FITS files.
    crop, pixel_scale, planes, collapse, tone, fits
        How a file becomes a picture, as in ``conf/dataset``; of a mapping, keys that it lacks are as there.

    Raises
    ------
    DataError
        The folder is missing, classes are missing or unknown, or metadata.csv contradicts itself.
    """

    def __init__(
        self,
        path: str | Path | None,
        classes: Sequence[str] | str,
        image_size: int,
        *,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
        crop: int | str | None = None,
        pixel_scale: float | None = None,
        planes: Sequence[int] | None = None,
        collapse: str = "mean",
        tone: ToneSettings | Mapping[str, Any] | None = None,
        fits: FitsSettings | Mapping[str, Any] | None = None,
    ) -> None:
        check_size(image_size, channels)
        self.image_size, self.channels = image_size, channels
        self.reading = ReadSettings.with_defaults(
            crop=crop,
            pixel_scale=pixel_scale,
            planes=None if planes is None else list(planes),
            collapse=collapse,
            tone=tone,
            fits=fits,
        )
        self.reading.check_channels(channels)
        self.bands = BandFiles(self.reading.fits.files) if self.reading.fits.files else None
        self.tones: dict[str, Tone] = {}
        if path is None:
            raise DataError("dataset.path is not set: give the folder that holds the class folders or a metadata.csv.")
        self.path = Path(path).expanduser()
        if not self.path.is_dir():
            raise DataError(f"dataset.path={path}{_no_folder(self.path)}.")
        if isinstance(classes, str) and classes != "found":
            raise ConfigError(f"dataset.classes={classes}: give a list of names, or `found` for the classes present.")
        wanted = None if isinstance(classes, str) else unique_names(classes, "dataset.classes")
        unique_names(exclude_classes, "dataset.exclude_classes")
        listed = (self.path / METADATA_FILE).is_file()
        listing = read_metadata(self.path / METADATA_FILE, self.bands) if listed else _scan(self.path, self.bands)
        self.catalog = _label(self.path, listing, wanted, exclude_classes)

    def fingerprint(self) -> str:
        """Return a hex digest of every file's name, size and time, and of what changes a pixel or a label."""
        settings = {
            "image_size": self.image_size,
            "channels": self.channels,
            "reading": self.reading.to_plain(),
            "preparation": PREPARATION_VERSION,
        }
        files = (file for row in range(len(self.catalog)) for file in self._files(row))
        return reader_fingerprint("folder", self.catalog, settings, *map(_identity, files))

    def blocks(self) -> list[range]:
        """Divide the rows into blocks of a few dozen files: they keep a thread busy, and fit into memory."""
        image_bytes = self.image_size**2 * self.channels
        rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // image_bytes))
        return [range(start, min(start + rows, len(self.catalog))) for start in range(0, len(self.catalog), rows)]

    def read(self, rows: range) -> Block:
        """Decode one block; a file without a usable image is one of its faults."""
        return decode_rows(rows, self._decode, self._where, self.image_size, self.channels)

    def facts(self, row: int) -> FileFacts | None:
        """Return what the header of a sample's (first) file says."""
        return file_facts(self._files(row)[0], self.reading.fits)

    def source(self, row: int) -> Source:
        """Return the file of a sample, or its files."""
        return Source(tuple(self._files(row)))

    def decide_tones(self, num_workers: int) -> dict[str, dict[str, Any]]:
        """Look at some of the files, and decide how the numbers in all of them become grey."""
        rows = np.unique(np.linspace(0, len(self.catalog) - 1, TONE_SAMPLE).astype(int)).tolist()
        with (
            warnings.catch_warnings(action="ignore"),  # decoders' remarks about single files
            closing(run_ahead(self._sampled, rows, num_workers)) as sample,
        ):
            self.tones = decide_tones((values for values in sample if values is not None), self.reading.tone)
        return {kind: tone.to_plain() for kind, tone in self.tones.items()}

    def _sampled(self, row: int) -> Values | None:
        """Read the numbers of a row; None where its header says that they are grey already."""
        facts = None if is_fits(self._files(row)[0]) else self.facts(row)
        if facts is not None and facts.bits <= 8 and facts.format in ALWAYS_UNSIGNED:
            return None
        try:
            return self._read(row)
        except ImageError:  # its own turn comes
            return None

    def _read(self, row: int) -> Values:
        files = self._files(row)
        if self.bands is None:
            return read_values(files[0], self.reading, self.channels)
        return read_bands(files, self._where(row), self.reading, self.channels)

    def _where(self, row: int) -> str:
        path = self.path / str(self.catalog.ids[row])
        return str(path) if self.bands is None else f"{path} ({', '.join(self.bands.patterns)})"

    def _decode(self, row: int) -> Decoded:
        with one_large_at_a_time():
            return to_picture(self._read(row), self.reading, self.channels, self.tones, self._where(row))

    def _files(self, row: int) -> list[Path]:
        name = str(self.catalog.ids[row])
        return [self.path / file for file in (self.bands.files(name) if self.bands else [name])]


def _no_folder(path: Path) -> str:
    """Say what is wrong with a path that is no folder, and what to give instead."""
    if not path.exists():
        return ": there is no such folder"
    if path.name == METADATA_FILE:
        return f" is the table itself: give the folder that it lies in, dataset.path={path.parent}"
    if path.suffix.lower() in HDF5_SUFFIXES:
        return f" is an HDF5 file, and no folder of images: dataset={choose_reader(path)} reads it"
    return " is a file: give the folder that holds the class folders or a metadata.csv"


def _scan(root: Path, bands: BandFiles | None) -> Listing:
    """List every image below a visible subfolder; its label is that subfolder's name."""
    ids: list[str] = []
    labels: list[str] = []
    unused: list[str] = []
    for folder in sorted(entry for entry in root.iterdir() if entry.is_dir() and not _hidden(entry.name)):
        names = _images_below(folder)
        if bands is not None:
            names, others = bands.group(names)
            unused += [f"{folder.name}/{name}" for name in others]
        ids += [f"{folder.name}/{name}" for name in names]
        labels += [folder.name] * len(names)
    _check_names(root, [*ids, *unused])
    if unused and ids:
        log.warning(_not_used(root, unused))
    elif unused:
        raise DataError(f"{_not_used(root, unused)} No other is there: give the patterns that their names have.")
    return Listing(ids=ids, labels=labels, where=["folder"] * len(ids))


def _check_names(root: Path, names: list[str]) -> None:
    """Refuse names that no table, log or report could hold."""
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:  # bytes that Python carries along as lone surrogates
            raise DataError(f"{root}: the file name {name!a} is not valid in UTF-8: rename it.") from None


def _images_below(folder: Path) -> list[str]:
    """List the paths of the visible images, relative to the folder."""
    names: list[str] = []
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not _hidden(name))
        found = sorted(name for name in files if not name.startswith(".") and is_image(Path(name)))
        names += [(Path(place) / name).relative_to(folder).as_posix() for name in found]
    return names


def _not_used(root: Path, files: list[str]) -> str:
    shown = ", ".join(files[:UNUSED_SHOWN]) + (f" and {len(files) - UNUSED_SHOWN} more" * (len(files) > UNUSED_SHOWN))
    one = len(files) == 1
    return (
        f"{root} has {len(files)} image file{'' if one else 's'} whose name fits none of dataset.fits.files, and that "
        f"{'is' if one else 'are'} not used: {shown}."
    )


def _hidden(name: str) -> bool:
    return name.startswith((".", "__"))  # .git, __MACOSX, __pycache__


def _label(root: Path, listing: Listing, wanted: Sequence[str] | None, excluded: Sequence[str]) -> Catalog:
    """Turn names of classes into numbers, and drop the rows of excluded classes."""
    if not listing.ids:
        raise DataError(
            f"{root} holds no images: they belong in one subfolder a class (galaxy/, nebula/, ...), or in a "
            f"{METADATA_FILE} with the columns path and label."
        )
    present: dict[str, str] = {}
    for name in sorted(listing.labels):
        present.setdefault(class_key(name), name)
    found = ", ".join(present.values())
    if wanted is None:
        names = choose_classes(list(present.values()), None, excluded, str(root))
    else:
        names = _check_wanted(root, wanted, excluded, present, found)
    dropped = {class_key(name) for name in excluded}
    number = {class_key(name): index for index, name in enumerate(names)}
    keys = [class_key(name) for name in listing.labels]
    for row, key in enumerate(keys):
        if key not in number and key not in dropped:
            label, place = listing.labels[row], listing.where[row]
            hint = did_you_mean(label, names, class_key)
            raise DataError(
                f"{root / label if place == 'folder' else place}: `{label}` is none of the classes "
                f"{', '.join(wanted or ())}{hint} Rename it, leave it out with dataset.exclude_classes=['{label}'], or "
                "take the classes as they are with dataset.classes=found."
            )
    catalog = Catalog(
        ids=np.array(listing.ids),
        labels=np.array([number.get(key, -1) for key in keys], np.int64),
        classes=names,
        **listing.columns(),
    )
    return catalog.take(np.flatnonzero(catalog.labels >= 0))


def _check_wanted(
    root: Path, wanted: Sequence[str], excluded: Sequence[str], present: dict[str, str], found: str
) -> tuple[str, ...]:
    every = [*wanted, *(name for key, name in present.items() if key not in {class_key(w) for w in wanted})]
    for name in excluded:
        if class_key(name) not in {class_key(n) for n in every}:
            raise DataError(
                f"dataset.exclude_classes names `{name}`, which is neither in dataset.classes nor in {root} "
                f"({found}){did_you_mean(name, every, class_key)}"
            )
    dropped = {class_key(name) for name in excluded}
    names = tuple(name for name in wanted if class_key(name) not in dropped)
    if not names:
        raise DataError("dataset.exclude_classes leaves none of dataset.classes: at least one must stay.")
    missing = [name for name in names if class_key(name) not in present]
    if missing:
        raise DataError(
            f"{root} has no images of the class{'es' if len(missing) > 1 else ''} {', '.join(missing)}; it has "
            f"{found}. Use dataset.classes=found to train on the classes that are there."
        )
    return names


def _identity(path: Path) -> bytes:
    try:
        status = path.stat()
    except OSError:
        return b"missing"
    if not os.access(path, os.R_OK):  # once it may be read, its size and time are what they were
        return b"unreadable"
    return f"{status.st_size}|{status.st_mtime_ns}".encode()
