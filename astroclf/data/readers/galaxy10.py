"""Galaxy10 DECaLS: 17,736 galaxies of the DESI Legacy Imaging Surveys in ten morphological classes.

Leung & Bovy; labels by Galaxy Zoo. https://zenodo.org/records/10845026
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from astroclf.data.catalog import Block, Catalog
from astroclf.data.decode.headers import FileFacts
from astroclf.data.decode.images import PREPARATION_VERSION
from astroclf.data.decode.pictures import MAX_PIXELS
from astroclf.data.decode.values import Decoded
from astroclf.data.readers.blocks import check_size, decode_rows, reader_fingerprint
from astroclf.data.readers.classes import choose_classes, class_key
from astroclf.data.readers.hdf5 import read_column, read_rows, slab_rows
from astroclf.errors import ConfigError, DataError
from astroclf.util.download import RemoteFile, fetch, wrong_file

CLASSES = (
    "Disturbed",
    "Merging",
    "Round Smooth",
    "In-between Round Smooth",
    "Cigar Shaped Smooth",
    "Barred Spiral",
    "Unbarred Tight Spiral",
    "Unbarred Loose Spiral",
    "Edge-on without Bulge",
    "Edge-on with Bulge",
)

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
FETCH_BY_HAND = (
    "Fetch Galaxy10_DECals.h5 (2.5 GB) from https://zenodo.org/records/10845026 and put it there, or give its place as "
    "dataset.path=FILE"
)
GALAXY10 = RemoteFile(
    name="Galaxy10_DECals.h5",
    urls=(
        "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
        "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5?download=1",
    ),
    sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
    remedy=f"{FETCH_BY_HAND}, or choose a folder with room by dataset.cache_dir=.",
    magic=HDF5_MAGIC,
    min_bytes=2_000_000_000,
)
NPY_SLAB_ROWS = 256
IDENTITY_BYTES = 2**20  # of the head and of the tail of a file, hashed into the fingerprint


class Galaxy10:
    """The official HDF5 file, or the same data as ``images.npy`` and ``labels.npy``, as a `DatasetReader`.

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
        Fetch the file (2.5 GB) when it is not there.
    cache_dir
        Where a downloaded file is kept when `path` is None.
    channels
        3 (the g, r, z bands as RGB) or 1 (grey).

    Raises
    ------
    DataError
        The file is missing, incomplete, or not laid out like Galaxy10.
    """

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
        self.path = _find(path, Path(cache_dir).expanduser(), download)
        columns = _check_npy(self.path) if self.path.is_dir() else _check_hdf5(self.path)
        self._shape: tuple[int, ...] = columns["shape"]
        self._slab = NPY_SLAB_ROWS if self.path.is_dir() else slab_rows(self._shape, columns["chunks"])
        if classes == "found":  # all ten have images
            classes = None
        chosen = choose_classes(CLASSES, classes, exclude_classes, "Galaxy10")
        renumbered = np.full(len(CLASSES), -1, np.int64)
        renumbered[[_CLASS_INDEX[class_key(name)] for name in chosen]] = np.arange(len(chosen))
        labels = renumbered[columns["labels"]]
        self._file_rows = np.flatnonzero(labels >= 0)
        if not len(self._file_rows):
            raise DataError(f"{self.path}: no image is of the classes {', '.join(chosen)} (dataset.classes).")
        everything = Catalog(
            ids=np.array([f"row-{row:06d}" for row in range(len(labels))]),
            labels=labels,
            classes=chosen,
            ra_deg=columns.get("ra"),
            dec_deg=columns.get("dec"),
        )
        self.catalog = everything.take(self._file_rows)

    def fingerprint(self) -> str:
        """Return a hex digest of the file's size, time, head and tail, the labels, and all that changes a pixel."""
        files = [self.path / "images.npy", self.path / "labels.npy"] if self.path.is_dir() else [self.path]
        settings = {"image_size": self.image_size, "channels": self.channels, "preparation": PREPARATION_VERSION}
        return reader_fingerprint("galaxy10", self.catalog, settings, *map(_identity, files))

    def blocks(self) -> list[range]:
        """Divide the rows into blocks whose images lie in the same slab of the file."""
        slabs = self._file_rows // self._slab
        starts = [0, *(np.flatnonzero(np.diff(slabs)) + 1).tolist(), len(slabs)]
        return [range(start, stop) for start, stop in itertools.pairwise(starts)]

    def read(self, rows: range) -> Block:
        """Decode one block; a damaged file is a DataError, for it concerns every image in it."""
        wanted = self._file_rows[rows.start : rows.stop]
        first, stop = int(wanted[0]), int(wanted[-1]) + 1
        if self.path.is_dir():
            stored = np.asarray(np.load(self.path / "images.npy", mmap_mode="r")[first:stop])
        else:
            stored = read_rows(self.path, "images", first, stop)

        def image(row: int) -> Decoded:
            return Decoded(stored[self._file_rows[row] - first])

        def where(row: int) -> str:
            return f"{self.path}, row {self._file_rows[row]}"

        return decode_rows(rows, image, where, self.image_size, self.channels)

    def facts(self, row: int) -> FileFacts:
        """Return what every image of the file is."""
        return FileFacts("NumPy" if self.path.is_dir() else "HDF5", "RGB", 8, self._shape[2], self._shape[1])


_CLASS_INDEX = {class_key(name): index for index, name in enumerate(CLASSES)}


def _find(path: str | Path | None, cache_dir: Path, download: bool) -> Path:
    """Find the HDF5 file, or the folder of the npy pair."""
    place = Path(path).expanduser() if path is not None else cache_dir / GALAXY10.name
    if place.is_dir():
        if (place / "images.npy").exists() or (place / "labels.npy").exists():
            return place
        official = place / GALAXY10.name
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
        return fetch(GALAXY10, place)
    where = f"{place} is not there" if path is not None else f"dataset.path is not set, and {place} is not there"
    raise DataError(
        f"Galaxy10 DECaLS: {where}. {FETCH_BY_HAND}, or let it be fetched with dataset.download=true. A folder with "
        "images.npy (N, H, W, 3) and labels.npy (N,) serves as well."
    )


def _check_hdf5(path: Path) -> dict:
    fault = wrong_file(path, HDF5_MAGIC)
    again = "Fetch it again, by hand or with dataset.download=true after removing it."
    if fault:
        raise DataError(f"{path} is not an HDF5 file: it is {fault}. {again}")
    try:
        with h5py.File(path, "r") as file:
            for name in ("images", "ans"):
                if not isinstance(file.get(name), h5py.Dataset):
                    has = ", ".join(file) or "nothing"
                    raise DataError(
                        f"{path} has no data set `{name}`; a Galaxy10 file has `images` (N, H, W, 3) uint8 and `ans` "
                        f"(N,), this one has {has}."
                    )
            images, answers = file["images"], file["ans"]
            _check_arrays(path, images, answers, names=("images", "ans"))
            columns = {"shape": images.shape, "chunks": images.chunks}
            columns["labels"] = _check_labels(path, read_column(answers), name="ans")
            for name, limit in (("ra", 360), ("dec", 90)):
                if isinstance(file.get(name), h5py.Dataset):
                    columns[name] = _check_degrees(path, file[name], name, limit, len(images))
    except DataError:
        raise
    except Exception as error:  # HDF5 meets arbitrary bytes here, and raises whatever it stumbled over
        raise DataError(f"{path} is a damaged or incompletely copied HDF5 file ({error}). {again}") from error
    if "ra" not in columns or "dec" not in columns:
        columns.pop("ra", None)
        columns.pop("dec", None)
    return columns


def _check_npy(folder: Path) -> dict:
    arrays = {}
    for name in ("images", "labels"):
        file = folder / f"{name}.npy"
        if not file.exists():
            raise DataError(f"{file} is missing: images.npy (N, H, W, 3) uint8 and labels.npy (N,) belong together.")
        try:
            arrays[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # NumPy's parser of the header raises whatever it stumbled over
            raise DataError(f"{file} is not a readable .npy file ({error}): write it again with numpy.save.") from error
        surplus = file.stat().st_size - arrays[name].offset - arrays[name].nbytes
        if surplus:
            raise DataError(
                f"{file} is {surplus:,} bytes longer than the array of shape {arrays[name].shape} that its header "
                "announces: it is damaged, write it again with numpy.save."
            )
    images, labels = arrays["images"], arrays["labels"]
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    _check_arrays(folder, images, labels, names=("images.npy", "labels.npy"))
    return {"shape": images.shape, "chunks": None, "labels": _check_labels(folder, labels, name="labels.npy")}


def _check_arrays(
    path: Path, images: h5py.Dataset | np.ndarray, labels: h5py.Dataset | np.ndarray, *, names: tuple[str, str]
) -> None:
    """Check shapes and types before any of it is read: a damaged header may claim more than memory holds."""
    shape, dtype = images.shape, images.dtype
    if len(shape) != 4 or shape[3] != 3 or 0 in shape or dtype != np.uint8:
        raise DataError(f"{path}: `{names[0]}` is {dtype} of shape {shape}; it must be uint8 of shape (N, H, W, 3).")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise DataError(f"{path}: `{names[0]}` has images of {shape[1]} x {shape[2]} pixels: more than {MAX_PIXELS:,}.")
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise DataError(f"{path}: `{names[1]}` is {labels.dtype} of shape {labels.shape}; it must be integers (N,).")
    if len(labels) != shape[0]:
        raise DataError(f"{path}: `{names[0]}` holds {shape[0]} images, but `{names[1]}` {len(labels)} labels.")


def _check_labels(path: Path, labels: np.ndarray, *, name: str) -> np.ndarray:
    """Return the labels as int64, once they are known to be Galaxy10's."""
    wrong = np.flatnonzero((labels < 0) | (labels >= len(CLASSES)))
    if len(wrong):
        raise DataError(
            f"{path}: `{name}` has the label {labels[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows); labels "
            f"of Galaxy10 are 0 to {len(CLASSES) - 1}."
        )
    return labels.astype(np.int64)


def _check_degrees(path: Path, stored: h5py.Dataset, name: str, limit: int, images: int) -> np.ndarray:
    """Return sky positions as float64, once they are known to be degrees; NaN is unknown."""
    if stored.shape != (images,):
        raise DataError(f"{path}: `{name}` has shape {stored.shape}, but there are {images} images.")
    degrees = read_column(stored).astype(np.float64)
    wrong = np.flatnonzero(np.abs(degrees) > limit)
    if len(wrong):
        raise DataError(
            f"{path}: `{name}` is {degrees[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows): no angle in degrees "
            f"from -{limit} to {limit}."
        )
    return degrees


def _identity(path: Path) -> bytes:
    """Return what tells one version of a file from another, without reading gigabytes."""
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(IDENTITY_BYTES)
        file.seek(max(0, status.st_size - IDENTITY_BYTES))
        tail = file.read(IDENTITY_BYTES)
    return f"{status.st_size}|{status.st_mtime_ns}|".encode() + head + tail
