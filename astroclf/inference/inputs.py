"""What ``inputs=`` names, as a stream of samples in a stable order: files, globs, folders, tables, arrays, a list.

Samples are made as they are asked for: of a million files, no more is held than the names of one folder, or the list
that was read.
"""

from __future__ import annotations

import glob
import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

from astroclf.data.decode.arrays import NPY_SUFFIX
from astroclf.data.readers.accounts import (
    BROKEN_LINK,
    CLOSED,
    HIDDEN,
    LOOP,
    NO_FILE,
    NO_FORMAT,
    NO_PATTERN,
    UNREAD_TABLE,
    suffix_of,
)
from astroclf.data.readers.array_files import HDF5_SUFFIXES, NPZ_SUFFIX
from astroclf.data.readers.band_files import BandFiles
from astroclf.data.readers.editions import IMAGES
from astroclf.data.readers.find_table import is_listing
from astroclf.data.readers.walk import image_suffix, is_hidden
from astroclf.errors import ConfigError
from astroclf.inference.samples import Sample
from astroclf.inference.stacks import Stack, is_stack
from astroclf.inference.table_inputs import TableOfImages, is_fits_table
from astroclf.settings.fits import is_fits
from astroclf.settings.reading import ReadSettings
from astroclf.util.tables import is_table
from astroclf.util.text import nearest_path

STANDARD_INPUT = "-"
REASONS_TOLD = 4

LeaveOut = Counter[str]


class Source(Protocol):
    """One of the things that ``inputs=`` names."""

    @property
    def columns(self) -> tuple[str, ...]:
        """What is known of each sample, and carried along."""
        ...

    @property
    def identity(self) -> str:
        """What tells one version of it from another, beyond the names of its samples."""
        ...

    def samples(self, left_out: LeaveOut) -> Iterator[Sample]:
        """Yield the samples in their order, and count by reason what is none."""
        ...


@dataclass(frozen=True)
class Survey:
    """What there is, counted once before anything is decoded.

    Attributes
    ----------
    count
        Of samples.
    fingerprint
        Of their names and order, and of the tables and arrays that they are from.
    left_out
        How many files are no samples, by reason.
    """

    count: int
    fingerprint: str
    left_out: LeaveOut

    def account(self) -> str:
        """Say how many images there are, and what is left out."""
        images = f"{self.count:,} image{'' if self.count == 1 else 's'}"
        reasons = [f"{count:,} {reason}" for reason, count in self.left_out.most_common(REASONS_TOLD)]
        if more := len(self.left_out) - len(reasons):
            reasons.append(f"and {more} other reasons")
        return f"{images}; left out: {', '.join(reasons)}." if reasons else f"{images}."


class Inputs:
    """All that ``inputs=`` names.

    Parameters
    ----------
    words
        Files, globs, folders, tables, arrays, or ``-`` for a list of files, one a line, on standard input.
    reading
        How the model reads files: whether a sample is several of them.
    channels
        Of the model's images: tells one array of bands from several of grey.
    column
        The column of tables that names the images; None: ``path``, or the only one whose cells are files.
    standard_input
        Where the list is read from.

    Attributes
    ----------
    columns : tuple of str
        What is carried along, of tables and arrays.

    Raises
    ------
    ConfigError
        A word names nothing.
    DataError
        A table or array that cannot be read.
    """

    def __init__(
        self,
        words: Sequence[str],
        reading: ReadSettings,
        channels: int,
        column: str | None = None,
        standard_input: BinaryIO | None = None,
    ) -> None:
        self.bands = BandFiles(reading.fits.files) if reading.fits.files else None
        self._channels, self._column, self._standard_input = channels, column, standard_input
        self._sources: list[Source] = []
        loose: list[str] = []  # files that stand between other inputs
        for word in words:
            source = self._source(word, alone=len(words) == 1)
            if source is None:
                loose.append(word)
                continue
            self._take(loose)
            self._sources.append(source)
        self._take(loose)
        if column is not None and not any(isinstance(source, TableOfImages) for source in self._sources):
            raise ConfigError(f"column={column} is the column of a table that names images, but inputs= has no table.")
        self.columns = tuple(dict.fromkeys(name for source in self._sources for name in source.columns))

    def samples(self, left_out: LeaveOut | None = None) -> Iterator[Sample]:
        """Yield all samples, in an order that is the same each time."""
        counts: LeaveOut = Counter() if left_out is None else left_out
        for source in self._sources:
            yield from source.samples(counts)

    def survey(self) -> Survey:
        """Count the samples and take their fingerprint, without opening any of their files."""
        left_out: LeaveOut = Counter()
        count, digest = 0, hashlib.sha256()
        for sample in self.samples(left_out):
            count += 1
            digest.update(os.fsencode(sample.name) + b"\0")
        for source in self._sources:
            digest.update(f"{source.identity}|{source.columns}\0".encode())
        return Survey(count, digest.hexdigest(), left_out)

    def _take(self, loose: list[str]) -> None:
        if loose:
            self._sources.append(Files(tuple(loose), self.bands))
            loose.clear()

    def _source(self, word: str, *, alone: bool) -> Source | None:
        """Return what a word names; None: one file that is an image, or is to be tried as one."""
        if word == STANDARD_INPUT:
            return ListedFiles(self._standard_input, self.bands)
        path = Path(word).expanduser()
        if path.is_dir():
            return Stack(path, word, IMAGES) if (path / f"{IMAGES}.npy").is_file() else Folder(path, word, self.bands)
        if path.exists():
            return self._of_file(path, word, alone=alone)
        if glob.has_magic(word):
            return Glob(word, self.bands)
        raise _no_such(word, path)

    def _of_file(self, path: Path, word: str, *, alone: bool) -> Source | None:
        suffix = path.suffix.lower()
        if suffix in (*HDF5_SUFFIXES, NPZ_SUFFIX):
            return Stack(path, word)
        if suffix == NPY_SUFFIX and is_stack(path, self._channels):
            return Stack(path.parent, word, path.stem)
        # Of many FITS files, none is opened to see what it is: that would take a millisecond each.
        if is_table(path) and (not is_fits(path) or (alone and is_fits_table(path))):
            return TableOfImages(path, self.bands, self._column)
        return None


@dataclass(frozen=True)
class Files:
    """Files that are named one by one."""

    names: tuple[str, ...]
    bands: BandFiles | None
    columns = ()
    identity = ""

    def samples(self, left_out: LeaveOut) -> Iterator[Sample]:
        """Yield a sample for each file, or for each that its bands make."""
        yield from _of_files(self.names, self.bands, left_out)


@dataclass(frozen=True)
class Glob:
    """Files, and folders with all below them, whose names match a pattern; ``**`` stands for any folders."""

    pattern: str
    bands: BandFiles | None
    columns = ()
    identity = ""

    def samples(self, left_out: LeaveOut) -> Iterator[Sample]:
        """Yield a sample for each image that matches, in alphabetical order."""
        matches = sorted(glob.glob(os.path.expanduser(self.pattern), recursive=True))
        if not matches:
            raise ConfigError(f"inputs={self.pattern}: nothing matches this pattern.")
        deep = "**" in self.pattern  # it names what lies in folders itself
        names = (name for match in matches for name in _below(match, deep, left_out))
        yield from _of_files(names, self.bands, left_out)


@dataclass(frozen=True)
class Folder:
    """Every image in a folder and all below it, files of a folder before its subfolders, in alphabetical order."""

    path: Path
    word: str
    bands: BandFiles | None
    columns = ()
    identity = ""

    def samples(self, left_out: LeaveOut) -> Iterator[Sample]:
        """Yield a sample for each image."""
        names = _walk(self.path, "" if self.word == "." else os.path.join(self.word, ""), left_out)
        yield from _of_files(names, self.bands, left_out)


class ListedFiles:
    """The files that a list on standard input names, one a line, or each ended by NUL as ``find -print0`` does."""

    columns = ()
    identity = ""

    def __init__(self, standard_input: BinaryIO | None, bands: BandFiles | None) -> None:
        if standard_input is None or standard_input.isatty():
            raise ConfigError("inputs=- takes a list of files on standard input, as in: ls night/*.fits | astroclf ...")
        self.bands = bands
        self._names = standard_input.read()
        self._separator = b"\0" if b"\0" in self._names else b"\n"

    def samples(self, left_out: LeaveOut) -> Iterator[Sample]:
        """Yield a sample for each line that is not empty."""
        start = 0
        while start < len(self._names):
            end = self._names.find(self._separator, start)
            line = self._names[start : end if end >= 0 else None].strip(b"\r\n")
            start = end + 1 if end >= 0 else len(self._names)
            if line:
                name = os.fsdecode(line)
                files = self.bands.files(self.bands.sample_of(name) or name) if self.bands else [name]
                yield Sample(name, tuple(files))


# ---- from names of files to samples ---------------------------------------------------------------------------------


def _of_files(names: Iterator[str] | Sequence[str], bands: BandFiles | None, left_out: LeaveOut) -> Iterator[Sample]:
    if bands is None:
        yield from (Sample(name, (name,)) for name in names)
        return
    samples, unused = bands.group(name.replace(os.sep, "/") for name in names)  # all names are needed to match them
    left_out[NO_PATTERN] += len(unused)
    for sample in samples:
        yield Sample(sample, tuple(bands.files(sample)))


def _below(match: str, deep: bool, left_out: LeaveOut) -> Iterator[str]:
    """Yield the images that one match of a pattern is, or holds."""
    if not os.path.isdir(match):
        if _is_sample(match, left_out):
            yield match
    elif not deep:
        yield from _walk(Path(match), os.path.join(match, ""), left_out)


def _walk(folder: Path, prefix: str, left_out: LeaveOut, above: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the images in a folder and below it as `walk` lists them, but for what links lead to: that is read twice.

    The names of one folder at a time are held.
    """
    real = os.path.realpath(folder)
    files: list[str] = []
    folders: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    left_out[HIDDEN] += 1
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file() or (entry.is_symlink() and image_suffix(entry.name)):
                    files.append(entry.name)
                else:
                    left_out[BROKEN_LINK if entry.is_symlink() else NO_FILE] += 1
    except OSError:
        left_out[CLOSED] += 1
        return
    files.sort()
    yield from (prefix + name for name in files if _is_sample(name, left_out))
    del files
    for name in sorted(folders):
        if os.path.realpath(folder / name) in (*above, real):
            left_out[LOOP] += 1
        else:
            yield from _walk(folder / name, f"{prefix}{name}/", left_out, (*above, real))


def _is_sample(name: str, left_out: LeaveOut) -> bool:
    """Tell if a file's name is one of an image, and count why it is not."""
    if image_suffix(name):
        return True
    left_out[UNREAD_TABLE if is_listing(name) else f"{NO_FORMAT} ({suffix_of(name)})"] += 1
    return False


def _no_such(word: str, path: Path) -> ConfigError:
    close = nearest_path(path)
    hint = f" Did you mean {close}?" if close else ""
    return ConfigError(f"inputs={word}: there is neither a file nor a folder {path.absolute()}.{hint}")
