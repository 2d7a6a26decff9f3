"""Galaxy10: galaxies in ten morphological classes, of the DESI Legacy Imaging Surveys (DECaLS) or of the older SDSS.

Leung & Bovy; labels by Galaxy Zoo. https://zenodo.org/records/10845026, https://zenodo.org/records/10844811
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroclf.data.catalog import Block, Catalog, Source
from astroclf.data.decode.headers import FileFacts
from astroclf.data.decode.limits import MAX_PIXELS
from astroclf.data.decode.original import Original, array_digest, original_of
from astroclf.data.decode.values import Decoded, numbers
from astroclf.data.readers.accounts import EXCLUDED, left_out
from astroclf.data.readers.array_files import ArrayFile, identity, open_arrays, read_sky, slab_blocks
from astroclf.data.readers.blocks import check_size, decode_rows, reader_fingerprint
from astroclf.data.readers.classes import choose_classes, class_key
from astroclf.data.readers.editions import DECALS, IMAGES, SDSS, Edition, has_all_ten, label_name, recognise
from astroclf.data.readers.hdf5 import WrongFile
from astroclf.errors import ConfigError, DataError
from astroclf.util.download import fetch


class Galaxy10:
    """Galaxy10 DECaLS: the official HDF5 file, or the same as ``images.npy`` and ``labels.npy``, as a `DatasetReader`.

    Parameters
    ----------
    path
        The HDF5 file, or a folder that holds it or ``images.npy`` and ``labels.npy``; None looks in `cache_dir`.
    image_size
        Side of the prepared images in pixels; the file's images are 256 x 256.
    classes
        Use only these classes, numbered in this order; None uses all ten in the official order.
    exclude_classes
        Leave these classes out.
    download
        Fetch the file when it is not there.
    cache_dir
        Where a downloaded file is kept when `path` is None.
    channels
        3 (the bands as RGB) or 1 (grey).

    Raises
    ------
    DataError
        The file is missing, incomplete, not laid out like Galaxy10, or of the other edition.
    """

    edition = DECALS

    def __init__(
        self,
        path: str | Path | None = None,
        image_size: int = 256,
        *,
        classes: Sequence[str] | str | None = None,
        exclude_classes: Sequence[str] = (),
        download: bool = False,
        cache_dir: str | Path = "~/.cache/astroclf",
        channels: int = 3,
    ) -> None:
        check_size(image_size, channels)
        if channels not in (1, 3):
            raise ConfigError(
                f"dataset.channels={channels}: Galaxy10's images have 3 channels (RGB), or 1 made of them."
            )
        self.image_size, self.channels = image_size, channels
        self.path = _find(self.edition, path, Path(cache_dir).expanduser(), download)
        self._file = self._open()
        if classes == "found":  # all ten have images
            classes = None
        chosen = choose_classes(self.edition.classes, classes, exclude_classes, "Galaxy10")
        labels = self._labels(named=chosen if classes is not None else ())
        number_of = {class_key(name): number for number, name in enumerate(self.edition.classes)}
        renumbered = np.full(len(self.edition.classes), -1, np.int64)
        renumbered[[number_of[class_key(name)] for name in chosen]] = np.arange(len(chosen))
        self._file_rows = np.flatnonzero(renumbered[labels] >= 0)
        if not len(self._file_rows):
            raise DataError(f"{self.path}: no image is of the classes {', '.join(chosen)} (dataset.classes).")
        everything = Catalog(
            ids=np.array([f"row-{row:06d}" for row in range(len(labels))]),
            labels=renumbered[labels],
            classes=chosen,
            **read_sky(self._file, len(labels)),
        )
        self.catalog = everything.take(self._file_rows)
        self.left_out = left_out(everything.ids[everything.labels < 0].tolist(), EXCLUDED)

    def fingerprint(self) -> str:
        """Return a hex digest of the file's size, time, head and tail, the labels, and all that changes a pixel."""
        files = self._file.files_of(IMAGES, self._label_name)
        return reader_fingerprint(self.edition.choice, self, *map(identity, files))

    def blocks(self) -> list[range]:
        """Divide the rows into blocks whose images lie in the same slab of the file."""
        return slab_blocks(self._file_rows, self._file.slab_rows(IMAGES))

    def read(self, rows: range) -> Block:
        """Decode one block; a damaged file is a DataError, for it concerns every image in it."""
        wanted = self._file_rows[rows.start : rows.stop]
        first, stop = int(wanted[0]), int(wanted[-1]) + 1
        stored = self._file.read_rows(IMAGES, first, stop)

        def image(row: int) -> tuple[Decoded, Original]:
            pixels = stored[self._file_rows[row] - first]
            return Decoded(pixels), original_of(numbers(pixels), array_digest(pixels), is_array=True)

        def where(row: int) -> str:
            return f"{self.path}, row {self._file_rows[row]}"

        return decode_rows(rows, image, where, self.image_size, self.channels)

    def source(self, row: int) -> Source:
        """Return the place of an image in its file."""
        file = self.path / "images.npy" if self.path.is_dir() else self.path
        return Source((file,), int(self._file_rows[row]), "images")

    def facts(self, row: int) -> FileFacts:
        """Return what every image of the file is."""
        _, height, width, _ = self._file.shape(IMAGES)
        return FileFacts(self._file.format, "RGB", 8, width, height)

    # ---- is it the file that it should be? -------------------------------------------------------------------------

    def _open(self) -> ArrayFile:
        try:
            file = open_arrays(self.path)
            names = file.names()
            self._label_name = label_name(names) or ("labels" if self.path.is_dir() else "ans")
            for name in (IMAGES, self._label_name):
                if name not in names:
                    has = ", ".join(map(file.called, names)) or "nothing"
                    raise DataError(
                        f"{self.path} has no {file.called(name)}; Galaxy10 is {file.called(IMAGES)} (N, H, W, 3) uint8 "
                        f"and {file.called(self._label_name)} (N,), here is {has}."
                    )
            _check_arrays(file, self._label_name)
        except WrongFile as error:
            raise self._wrong_file(error) from error
        return file

    def _wrong_file(self, error: WrongFile) -> DataError:
        if self.path.is_dir():
            return error
        remote = self.edition.remote
        return DataError(f"{error} The SHA-256 of a whole {remote.name} is {remote.sha256}. {self.edition.by_hand}.")

    def _labels(self, named: Sequence[str]) -> np.ndarray:
        """Return the labels as int64, once they are known to be those of this edition.

        Parameters
        ----------
        named
            The classes that somebody has named: whoever does knows what the labels mean.
        """
        try:
            labels = self._file.read(self._label_name)
        except WrongFile as error:
            raise self._wrong_file(error) from error
        labels = labels.reshape(-1).astype(np.int64)
        shape = self._file.shape(IMAGES)
        found = recognise(shape, labels, self._file.names())
        if found not in (self.edition, None):
            raise DataError(
                f"{self.path}: this is {found.title} ({shape[1]} px), not {self.edition.title}: it has other "
                f"classes. Read it with dataset={found.choice}."
            )
        own = "Arrays of your own are read, under their own class names, with dataset=arrays."
        wrong = np.flatnonzero((labels < 0) | (labels >= len(self.edition.classes)))
        if len(wrong):
            where = f"{self.path}: {self._file.called(self._label_name)}"
            if labels.min() == 1 and labels.max() == len(self.edition.classes):
                raise DataError(
                    f"{where} counts the classes from 1 to 10: labels of Galaxy10 are 0 to 9, so every class would get "
                    f"the name of the next. Write them again less 1. {own}"
                )
            raise DataError(
                f"{where} has the label {labels[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows); labels of "
                f"Galaxy10 are 0 to 9. {own}"
            )
        if found is None and not has_all_ten(labels):
            present = [self.edition.classes[label] for label in np.unique(labels)]
            if not {class_key(name) for name in present} <= {class_key(name) for name in named}:
                raise DataError(
                    f"{self.path} is not known to be Galaxy10: {len(labels):,} images of {shape[1]} x {shape[2]} px "
                    f"with the labels {', '.join(map(str, np.unique(labels)))}. {own} If it is a part of "
                    f"{self.edition.about}, name its classes: dataset.classes={present}."
                )
        return labels


class Galaxy10Sdss(Galaxy10):
    """Galaxy10 SDSS, the older edition: 21,785 images of 69 px in ten other classes, under the same keys.

    The parameters are those of `Galaxy10`.
    """

    edition = SDSS


def _find(edition: Edition, path: str | Path | None, cache_dir: Path, download: bool) -> Path:
    """Find the HDF5 file, or the folder of the npy pair."""
    place = Path(path).expanduser() if path is not None else cache_dir / edition.remote.name
    if place.is_dir():
        if (place / "images.npy").exists() or (place / "labels.npy").exists():
            return place
        official = place / edition.remote.name
        found = [official] if official.exists() else sorted([*place.glob("*.h5"), *place.glob("*.hdf5")])
        if len(found) == 1:
            return found[0]
        if len(found) > 1:
            names = ", ".join(f.name for f in found)
            raise DataError(f"{place} holds several HDF5 files ({names}); give one of them as dataset.path=.")
        place = official
    if place.exists():
        return place
    if download:
        return fetch(edition.remote, place)
    where = f"{place} is not there" if path is not None else f"dataset.path is not set, and {place} is not there"
    raise DataError(
        f"{edition.title}: {where}. {edition.by_hand}, or let it be fetched with dataset.download=true. A folder with "
        "images.npy (N, H, W, 3) and labels.npy (N,) serves as well."
    )


def _check_arrays(file: ArrayFile, label_name: str) -> None:
    """Check shapes and types before any of it is read: a damaged header may claim more than memory holds."""
    path, shape, dtype = file.path, file.shape(IMAGES), file.dtype(IMAGES)
    images, labels = file.called(IMAGES), file.called(label_name)
    if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
        raise DataError(
            f"{path}: {images} is {dtype} of shape {shape}; Galaxy10's must be uint8 of shape (N, H, W, 3). Other "
            "arrays are read with dataset=arrays."
        )
    if shape[1] * shape[2] > MAX_PIXELS:
        raise DataError(f"{path}: {images} has images of {shape[1]} x {shape[2]} pixels: more than {MAX_PIXELS:,}.")
    label_shape, label_dtype = file.shape(label_name), file.dtype(label_name)
    if label_shape[1:] not in ((), (1,)) or not label_shape or label_dtype.kind not in "iu":
        raise DataError(
            f"{path}: {labels} is {label_dtype} of shape {label_shape}; Galaxy10's must be integers (N,). Other "
            "labels, such as names, are read with dataset=arrays."
        )
    if label_shape[0] != shape[0]:
        raise DataError(f"{path}: {images} holds {shape[0]} images, but {labels} {label_shape[0]} labels.")
