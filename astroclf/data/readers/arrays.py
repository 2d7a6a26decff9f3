"""People's own arrays: images and labels as numpy or HDF5 keeps them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from astroclf.data.catalog import SPLIT_SPELLINGS, Block, Catalog, LeftOut, Note, Source
from astroclf.data.decode.axes import check_planes, choose_planes
from astroclf.data.decode.crop import cropped
from astroclf.data.decode.headers import FileFacts
from astroclf.data.decode.limits import MAX_PIXELS
from astroclf.data.decode.original import Original, array_digest, original_of
from astroclf.data.decode.tone import Tone, decide_tones
from astroclf.data.decode.values import Decoded, Values, array_numbers, numbers
from astroclf.data.readers.accounts import BESIDE_ARRAYS, EXCLUDED, HIDDEN, UNLABELLED, left_out
from astroclf.data.readers.array_files import (
    HDF5_SUFFIXES,
    NPZ_SUFFIX,
    SIMULATED,
    ArrayFile,
    identity,
    open_arrays,
    read_sky,
    slab_blocks,
)
from astroclf.data.readers.blocks import ToneRules, check_size, decode_rows, reader_fingerprint
from astroclf.data.readers.classes import MISSING_LABELS, choose_classes, unique_names
from astroclf.data.readers.editions import IMAGES, label_name
from astroclf.data.readers.listing import UNLABELLED as UNLABELLED_CLASS
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.settings.dataset import Labels, OnError
from astroclf.settings.fits import bands_give
from astroclf.settings.reading import ReadSettings
from astroclf.util.logs import log

CLASSES = "classes"  # the array, or text file of a folder, that names the numbers in the labels
COLUMNS = ("ra", "dec", "split", "group")  # arrays beside the images that are read where they are there
TONE_SLABS, TONE_SAMPLE = 20, 200  # parts of the file, and images in all, that decide how numbers become grey


class Arrays(ToneRules):
    """Images and labels as ``images.npy`` and ``labels.npy``, in an ``.npz`` or in an HDF5 file, as a `DatasetReader`.

    `images` is (N, H, W) or (N, H, W, bands), of any number type; `labels` (N,) are whole numbers or texts. Beside
    them may lie `classes` (names of the numbers 0, 1, …; in a folder also as ``classes.txt``, one a line), `ra` and
    `dec` (degrees), `split` and `group` (texts). Sample ids are ``row-000017``.

    Parameters
    ----------
    path
        The folder, or the file.
    image_size
        Side of the prepared images in pixels: the longest side is scaled to it, the rest padded with zeros.
    class_names
        Names of the numbers 0, 1, … in the labels; None: those in `classes`, else the labels themselves.
    classes
        Use only these classes, numbered in this order; None uses all; ``found`` all that have images.
    exclude_classes
        Leave these classes out.
    channels
        3 (RGB), 1 (grey), or the number of bands.
    reading
        How numbers become a picture; None: as in ``conf/dataset``.
    on_unlabelled
        ``raise``: a row without a label is a DataError; ``skip``: it is left out and counted.
    labels
        ``required``; ``auto``: where there is no such array, all images are of one class; ``none``: in any case.

    Raises
    ------
    DataError
        Arrays are missing, damaged, or do not fit each other.
    """

    def __init__(
        self,
        path: str | Path | None,
        image_size: int,
        *,
        class_names: Sequence[str] | None = None,
        classes: Sequence[str] | str | None = None,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
        reading: ReadSettings | None = None,
        on_unlabelled: OnError = "raise",
        labels: Labels = "required",
    ) -> None:
        super().__init__()
        check_size(image_size, channels)
        self.image_size, self.channels = image_size, channels
        self.reading = reading or ReadSettings.with_defaults()
        self.reading.check_channels(channels)
        if isinstance(classes, str) and classes != "found":
            raise ConfigError(f"dataset.classes={classes}: give a list of names, or `found` for the classes present.")
        self.path = _find(path)
        self._file = open_arrays(self.path)
        found = None if labels == "none" else label_name(self._file.names())
        self._label_name = found or ("labels" if labels == "required" else None)
        self._check()
        self._bands_axis, self._notes = _bands_axis(self._file)
        self._check_bands()
        numbers_N, known = self._labels(class_names)
        if self._label_name is not None and on_unlabelled == "raise" and (numbers_N < 0).any():
            raise DataError(
                f"{self.path}: {self._file.called(self._label_name)} has no label in row {np.argmin(numbers_N)} "
                f"({(numbers_N < 0).sum()} such rows). Label them, or leave them out with dataset.on_unlabelled=skip."
            )
        self.catalog, self._file_rows, self.left_out = self._list(numbers_N, known, classes, exclude_classes)

    def fingerprint(self) -> str:
        """Return a hex digest of the files' size, time, head and tail, the labels, and all that changes a pixel."""
        files = self._file.files_of(*self._needed())
        return reader_fingerprint("arrays", self, *map(identity, files), *self._given_tones, reading=self.reading)

    def blocks(self) -> list[range]:
        """Divide the rows into blocks whose images lie in the same slab of the file."""
        return slab_blocks(self._file_rows, self._file.slab_rows(IMAGES))

    def read(self, rows: range) -> Block:
        """Decode one block; an image of which nothing can be seen is one of its faults."""
        wanted = self._file_rows[rows.start : rows.stop]
        first = int(wanted[0])
        stored = self._file.read_rows(IMAGES, first, int(wanted[-1]) + 1)

        def decode(row: int) -> tuple[Decoded, Original]:
            pixels = stored[int(self._file_rows[row]) - first]
            whole = self._values(pixels)
            values = cropped(self._chosen(whole), self.reading, self._where(row))
            if row == 0:  # what is to be said of the whole file is said once
                values = values.noted(*self._notes)
            return self._picture(values, self._where(row)), original_of(whole, array_digest(pixels), is_array=True)

        return decode_rows(rows, decode, self._where, self.image_size, self.channels)

    def source(self, row: int) -> Source:
        """Return the place of an image in its file."""
        return Source(tuple(self._file.files_of(IMAGES)), int(self._file_rows[row]), IMAGES)

    def facts(self, row: int) -> FileFacts:
        """Return what every image of the arrays is."""
        height, width, bands = self._size()
        dtype = self._file.dtype(IMAGES)
        mode = {1: "L", 3: "RGB"}.get(bands, f"{bands} bands") if dtype == np.uint8 else dtype.name
        return FileFacts(self._file.format, mode, 8 * dtype.itemsize, width, height)

    def _decided(self, num_workers: int) -> Mapping[str, Tone]:
        return decide_tones(self._sampled(), self.reading.tone)

    def _sampled(self) -> Iterator[Values]:
        """Yield the numbers of some images, all over the file: rows that lie together are cheap to read together."""
        if self._file.dtype(IMAGES) == np.uint8:
            return
        blocks = self.blocks()
        looked_at = np.unique(np.linspace(0, len(blocks) - 1, TONE_SLABS).astype(int))
        for index in looked_at:
            rows = self._file_rows[blocks[index].start : blocks[index].stop]
            rows = rows[np.unique(np.linspace(0, len(rows) - 1, TONE_SAMPLE // len(looked_at)).astype(int))]
            stored = self._file.read_rows(IMAGES, int(rows[0]), int(rows[-1]) + 1)
            with suppress(ImageError):  # it is a fault of every image, and told as that
                for row in rows:
                    yield cropped(self._chosen(self._values(stored[row - rows[0]])), self.reading, str(self.path))

    def _labels(self, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the number of each row's class, -1 where it has no label, and the names of the classes."""
        if self._label_name is None:
            return np.zeros(self._file.shape(IMAGES)[0], np.int64), (UNLABELLED_CLASS,)
        return _labels(self._file, self._label_name, class_names)

    def _needed(self) -> list[str]:
        """Name the arrays that are read: images first, then labels, unless it is read without."""
        return [IMAGES] if self._label_name is None else [IMAGES, self._label_name]

    def _where(self, row: int) -> str:
        return f"{self.path}, {self._file.called(IMAGES)}, row {self._file_rows[row]}"

    def _values(self, stored: np.ndarray) -> Values:
        """Return the numbers of one image, (H, W) or with a band axis, as (H, W, P): of all bands that it has."""
        if stored.ndim == 3:
            stored = np.moveaxis(stored, self._bands_axis - 1, 2)
        return array_numbers(stored)

    def _chosen(self, values: Values) -> Values:
        """Choose the bands that are asked for."""
        kept = {1, 3, self.channels}
        planes_PHW = choose_planes(np.moveaxis(values.pixels_HWP, 2, 0), self.reading, kept, self.path)
        return numbers(np.moveaxis(planes_PHW, 0, 2))

    # ---- do the arrays fit? ----------------------------------------------------------------------------------------

    def _size(self) -> tuple[int, int, int]:
        """Return height, width and bands of the images."""
        shape = list(self._file.shape(IMAGES))
        bands = shape.pop(self._bands_axis) if len(shape) == 4 else 1
        return shape[1], shape[2], bands

    def _check(self) -> None:
        """Check names, shapes and types before any of it is read: a damaged header may claim more than memory holds."""
        file, names = self._file, self._file.names()
        for name in self._needed():
            if name not in names:
                has = ", ".join(map(file.called, names)) or "no array"
                raise DataError(
                    f"{self.path} has no {file.called(name)}, but {has}: own arrays are called images (N, H, W) or "
                    "(N, H, W, bands) and labels (N,)."
                )
        shape, dtype, called = file.shape(IMAGES), file.dtype(IMAGES), file.called(IMAGES)
        if len(shape) not in (3, 4) or 0 in shape or dtype.kind not in "biuf":
            raise DataError(
                f"{self.path}: {called} is {dtype} of shape {shape}; it must be numbers of shape (N, H, W) or "
                "(N, H, W, bands)."
            )
        for name in (*self._needed()[1:], *(column for column in COLUMNS if column in names)):
            length = (file.shape(name) or (0,))[0]
            if length != shape[0]:
                raise DataError(
                    f"{self.path}: {called} holds {shape[0]} images, but {file.called(name)} {length} rows."
                )

    def _check_bands(self) -> None:
        height, width, bands = self._size()
        if height * width > MAX_PIXELS:
            raise DataError(f"{self.path}: images of {height} x {width} pixels are more than {MAX_PIXELS:,}.")
        planes = self.reading.planes
        if planes:
            check_planes(bands, planes, self.path)
            bands = len(planes)
        if not bands_give(bands, self.channels) and self.channels != 1:  # for grey, they are collapsed
            raise DataError(
                f"{self.path}: {self._file.called(IMAGES)} has images of {bands} bands, but dataset.channels="
                f"{self.channels}. Set dataset.channels={bands}, or choose bands with dataset.planes, such as "
                f"dataset.planes={list(range(min(bands, 3)))}."
            )

    def _list(
        self, numbers_N: np.ndarray, known: Sequence[str], classes: Sequence[str] | str | None, excluded: Sequence[str]
    ) -> tuple[Catalog, np.ndarray, list[LeftOut]]:
        """Return the catalog of the rows that are used, where they lie in the file, and what is left out."""
        if classes == "found":
            known_here = [name for number, name in enumerate(known) if (numbers_N == number).any()]
            chosen = choose_classes(known_here, None, excluded, str(self.path))
        else:
            chosen = choose_classes(known, None if isinstance(classes, str) else classes, excluded, str(self.path))
        index = {name: number for number, name in enumerate(chosen)}
        renumbered = np.array([*(index.get(name, -1) for name in known), -1])  # the last is for rows without a label
        labels = renumbered[numbers_N]
        rows = np.flatnonzero(labels >= 0)
        if not len(rows):
            raise DataError(f"{self.path}: no image is of the classes {', '.join(chosen)}.")
        ids = np.array([f"row-{row:06d}" for row in range(len(labels))])
        unlabelled = numbers_N < 0
        rest = [
            *left_out(ids[unlabelled].tolist(), UNLABELLED),
            *left_out(ids[(labels < 0) & ~unlabelled].tolist(), EXCLUDED),
            *self._unused(),
        ]
        texts = {name: _texts(self._file, name) for name in ("split", "group") if name in self._file.names()}
        if "split" in texts:
            texts["split"] = _splits(self._file, texts["split"])
        everything = Catalog(ids=ids, labels=labels, classes=chosen, **texts, **read_sky(self._file, len(labels)))
        return everything.take(rows), rows, rest

    def _unused(self) -> list[LeftOut]:
        """List the arrays that are not read, and of a folder what else lies in it."""
        used = {*self._needed(), CLASSES, SIMULATED, *COLUMNS}
        names = sorted(set(self._file.names()) - used)
        if self.path.is_dir():
            known = {*self._file.files_of(*used), self.path / f"{CLASSES}.txt"}
            names = sorted(place.name + "/" * place.is_dir() for place in self.path.iterdir() if place not in known)
        hidden = [name for name in names if name.startswith(".")]
        return left_out([name for name in names if name not in hidden], BESIDE_ARRAYS) + left_out(hidden, HIDDEN)


def _find(path: str | Path | None) -> Path:
    if path is None:
        raise DataError("dataset.path is not set: give a folder with images.npy and labels.npy, an .npz or HDF5 file.")
    place = Path(path).expanduser()
    if not place.exists():
        raise DataError(f"dataset.path={path}: there is no such file or folder.")
    if place.suffix.lower() == ".npy":
        raise DataError(f"dataset.path={path} is one array: give the folder that holds it, {place.parent}.")
    if place.is_dir() and not (place / f"{IMAGES}.npy").exists():
        suffixes = (*HDF5_SUFFIXES, NPZ_SUFFIX)
        found = sorted(file for file in place.iterdir() if file.suffix.lower() in suffixes)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found)
            raise DataError(f"{place} holds several files of arrays ({names}): give one of them as dataset.path=.")
    return place


def bands_axis(shape: tuple[int, ...]) -> int:
    """Find the axis of (N, …) that holds bands: the last, unless the second is the shortest."""
    return 1 if len(shape) == 4 and shape[1] < min(shape[2:]) else 3


def _bands_axis(file: ArrayFile) -> tuple[int, tuple[Note, ...]]:
    """Find the axis of the images' bands; that it is the second is a guess, and noted."""
    shape = file.shape(IMAGES)
    if bands_axis(shape) == 3:
        return 3, ()
    _, bands, height, width = shape
    text = (
        f"{file.path}: {file.called(IMAGES)} of shape {shape} is taken as {bands} bands of {height} x {width} pixels: "
        "its second axis is the shortest."
    )
    return 1, (Note("guessed axes", text),)


# ---- labels ---------------------------------------------------------------------------------------------------------


def _labels(file: ArrayFile, name: str, class_names: Sequence[str] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the number of each row's class, -1 where it has no label, and the names of the classes."""
    where = f"{file.path}: {file.called(name)}"
    shape, dtype = file.shape(name), file.dtype(name)
    if len(shape) == 2 and shape[1] > 1:
        raise DataError(
            f"{where} is of shape {shape}; it must be (N,). One column a class becomes that by labels.argmax(axis=1)."
        )
    if len(shape) not in (1, 2) or dtype.kind not in "biufUS":
        raise DataError(f"{where} is {dtype} of shape {shape}; it must be whole numbers or texts, (N,).")
    names = _class_names(file, class_names)
    stored = file.read(name).reshape(-1)
    if dtype.kind in "US":
        return _named(where, _as_text(stored), names)
    if dtype.kind == "f":
        missing = np.isnan(stored)
        whole = np.where(missing, 0, stored)
        if (whole != np.rint(whole)).any():
            row = int(np.flatnonzero(whole != np.rint(whole))[0])
            raise DataError(f"{where} is {stored[row]} in row {row}: labels are whole numbers or texts.")
        return _numbered(where, whole.astype(np.int64), missing, names)
    return _numbered(where, stored.astype(np.int64), np.zeros(len(stored), bool), names)


def _numbered(
    where: str, stored: np.ndarray, missing: np.ndarray, names: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Name the classes of labels that are numbers: by their number, or else after it."""
    if names is None:
        log.info("%s are numbers, and the classes are called by them: dataset.class_names=[...] names them.", where)
        values, labels = np.unique(stored[~missing], return_inverse=True)
        numbers_N = np.full(len(stored), -1)
        numbers_N[~missing] = labels
        return numbers_N, tuple(map(str, values.tolist()))
    wrong = np.flatnonzero(~missing & ((stored < 0) | (stored >= len(names))))
    if len(wrong):
        known = stored[~missing]
        shifted = bool(known.min() == 1 and known.max() == len(names))
        raise DataError(
            f"{where} is {stored[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows), but there are {len(names)} "
            f"names of classes, for the numbers 0 to {len(names) - 1}."
            + (" The labels count from 1: write them again less 1, or every class would be misnamed." * shifted)
        )
    return np.where(missing, -1, stored), names


def _named(where: str, stored: np.ndarray, names: tuple[str, ...] | None) -> tuple[np.ndarray, tuple[str, ...]]:
    """Turn labels that are texts into numbers: in the order of the names, or else sorted."""
    missing = np.array(
        [text.strip().casefold() in MISSING_LABELS and text not in (names or ()) for text in stored], bool
    )
    present = sorted(set(stored[~missing].tolist()))
    if names is not None and (strange := [name for name in present if name not in names]):
        raise DataError(f"{where} has the label `{strange[0]}`, which is none of the classes {', '.join(names)}.")
    names = names or tuple(present)
    number = {name: index for index, name in enumerate(names)}
    return np.array([-1 if gone else number[text] for text, gone in zip(stored.tolist(), missing, strict=True)]), names


def _class_names(file: ArrayFile, given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names of the numbers 0, 1, …, if somebody gives them."""
    if given is not None:
        return unique_names(given, "dataset.class_names")
    text = file.path / f"{CLASSES}.txt"
    if CLASSES in file.names():
        if len(file.shape(CLASSES)) != 1 or file.dtype(CLASSES).kind not in "US":
            raise DataError(f"{file.path}: {file.called(CLASSES)} must be texts (C,), the names of the classes.")
        return unique_names(_as_text(file.read(CLASSES)).tolist(), f"{file.path}: {file.called(CLASSES)}")
    if file.path.is_dir() and text.is_file():
        lines = text.read_text(encoding="utf-8-sig").splitlines()
        return unique_names([line.strip() for line in lines if line.strip()], str(text))
    return None


def _as_text(stored: np.ndarray) -> np.ndarray:
    return np.char.decode(stored, "utf-8") if stored.dtype.kind == "S" else stored


def _texts(file: ArrayFile, name: str) -> np.ndarray:
    """Read one text a row; numbers as text."""
    stored = file.read(name).reshape(-1)
    return _as_text(stored) if stored.dtype.kind in "US" else np.array([str(value) for value in stored.tolist()])


def _splits(file: ArrayFile, stored: np.ndarray) -> np.ndarray:
    spelled = [str(text).strip().casefold() for text in stored]
    for row, text in enumerate(spelled):
        if text not in SPLIT_SPELLINGS:
            raise DataError(
                f"{file.path}: {file.called('split')} is `{stored[row]}` in row {row}: give train, val, test, or an "
                "empty text, which leaves the choice to us."
            )
    return np.array([SPLIT_SPELLINGS[text] for text in spelled])
