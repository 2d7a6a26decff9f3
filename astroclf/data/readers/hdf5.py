"""Arrays in an HDF5 file: fast rows of a file that is chunked across rows, and what is wrong with one, in words."""

from __future__ import annotations

import errno
import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from astroclf.errors import DataError
from astroclf.util.download import wrong_file

# The official Galaxy10 file keeps 555 images together in each chunk: one image read alone decompresses 109 MB.
OFFICIAL_CHUNK_ROWS = 555
MAX_SLAB_BYTES = 256 * 2**20
HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
SMALLEST_USER_BLOCK = 512  # bytes that a program may put before the signature; or twice, four times ... as many
DISK_ERRORS = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EHOSTDOWN, errno.ENODEV}


class WrongFile(DataError):
    """A file that is cut off, damaged, or something else than its name says."""


class Hdf5Arrays:
    """The arrays at the top of an HDF5 file, as an `ArrayFile`.

    Raises
    ------
    WrongFile
        It is no HDF5 file, or cut off.
    DataError
        It cannot be opened now: it is locked, forbidden, or on a disk that does not answer.
    """

    format = "HDF5"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._headers: dict[str, tuple[tuple[int, ...], np.dtype, tuple[int, ...] | None]] = {}
        with _opened(path) as file:
            try:
                for name in file:
                    if isinstance(node := file.get(name), h5py.Dataset):
                        self._headers[name] = (node.shape or (), _dtype(node), node.chunks)
            except Exception as error:  # HDF5 meets arbitrary bytes here, and raises whatever it stumbled over
                raise in_words(path, error) from error

    def names(self) -> list[str]:
        """List the arrays that there are."""
        return list(self._headers)

    def files_of(self, *names: str) -> list[Path]:
        """List the files that hold these arrays."""
        return [self.path]

    def called(self, name: str) -> str:
        """Return what to call an array in errors."""
        return f"`{name}`"

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, before any of it is read."""
        return self._headers[name][0]

    def dtype(self, name: str) -> np.dtype:
        """Return the type of an array; of text of any length, ``<U0``."""
        return self._headers[name][1]

    def slab_rows(self, name: str) -> int:
        """Return how many rows are cheap to read at once."""
        shape, dtype, chunks = self._headers[name]
        return slab_rows(shape, chunks, dtype.itemsize)

    def chunk_rows(self, name: str) -> int:
        """Return how many rows can be read only together, since they are compressed as one."""
        chunks = self._headers[name][2]
        return chunks[0] if chunks else 1

    def read(self, name: str) -> np.ndarray:
        """Read all of a small array; text as ``str``."""
        with _opened(self.path) as file:
            try:
                return read_column(file[name])
            except Exception as error:  # HDF5 meets arbitrary bytes here, and raises whatever it stumbled over
                raise in_words(self.path, error, f"`{name}`") from error

    def read_rows(self, name: str, first: int, stop: int) -> np.ndarray:
        """Read the rows [first, stop) of an array."""
        return read_rows(self.path, name, first, stop)


def slab_rows(shape: tuple[int, ...], chunks: tuple[int, ...] | None, item_bytes: int = 1) -> int:
    """Choose how many rows to read at once: the chunk height, or what fits in memory where that is not so chunked."""
    row_bytes = int(np.prod(shape[1:])) * item_bytes
    height = chunks[0] if chunks else OFFICIAL_CHUNK_ROWS
    if height * row_bytes <= MAX_SLAB_BYTES // 4:  # thin chunks: several of them at a time
        height *= max(1, min(256 // height, MAX_SLAB_BYTES // 4 // (height * row_bytes)))
    elif chunks is None:
        height = max(1, MAX_SLAB_BYTES // row_bytes)
    return height


def read_rows(path: Path, name: str, first: int, stop: int) -> np.ndarray:
    """Read the rows [first, stop) of data set `name`, (stop - first, ...) in its own type.

    Chunks that are gzip-compressed and nothing else are fetched as they lie in the file and inflated here: HDF5 does
    it under one lock for the whole process, zlib does it in parallel in as many threads as call this function.

    Raises
    ------
    DataError
        The file is damaged, or cannot be read now.
    """
    with _opened(path) as file:
        try:
            dataset = file[name]
            if _is_plain_gzip(dataset) and (stop - first) * 2 >= dataset.chunks[0]:
                return _inflate_rows(dataset, first, stop)
            _check_written(dataset, first, stop)
            return dataset[first:stop]
        except Exception as error:  # HDF5 meets arbitrary bytes, and raises whatever it stumbled over
            raise in_words(path, error, f"rows {first} to {stop - 1} of `{name}`") from error


def read_column(dataset: h5py.Dataset) -> np.ndarray:
    """Read all of a data set with one value a row; OSError where a part of it is nowhere in the file."""
    if dataset.shape:
        _check_written(dataset, 0, len(dataset))
    if h5py.check_string_dtype(dataset.dtype) is not None:
        return np.asarray(dataset.asstr()[()], dtype=str)
    return dataset[()]


# ---- what is wrong with a file ---------------------------------------------------------------------------------------


def in_words(path: Path, error: Exception, part: str = "") -> DataError:
    """Say why HDF5 cannot read a file, or a part of it.

    Returns
    -------
    DataError
        To be raised; a `WrongFile` where the file itself is at fault.
    """
    text = " ".join(str(error).split()).rstrip(".")
    what = f": {part} cannot be read" if part else " cannot be opened"
    elsewhere = [  # the reasons for which an intact file cannot be read
        (
            "unable to lock file" in text,
            f" is locked: another program has it open for writing ({text}). Wait until it is closed. Where nobody "
            "writes to it, as on a network disk without locks, set HDF5_USE_FILE_LOCKING=FALSE before the command.",
        ),
        (
            "already open for" in text,
            f" is open for writing, or the program that wrote it never closed it ({text}). Wait until that has ended; "
            "if it was cut off, write the file again, or run `h5clear -s` of the HDF5 tools on a copy.",
        ),
        (isinstance(error, PermissionError), " may not be read by you (permission denied): let its owner allow it."),
        (isinstance(error, FileNotFoundError), " is not there any more."),
        (isinstance(error, MemoryError), f"{what}, for memory is short: end other programs first."),
        (
            getattr(error, "errno", None) in DISK_ERRORS,
            f"{what}, for its disk does not answer ({text}). The file may be intact: try again.",
        ),
        (
            "filter" in text or "plugin" in text,
            f"{what}, for its compression is not known here ({text}). Write it again with compression='gzip', or put "
            "the filter's library where HDF5_PLUGIN_PATH says.",
        ),
    ]
    if sentence := next((sentence for is_so, sentence in elsewhere if is_so), ""):
        return DataError(f"{path}{sentence}")
    if "truncated file" in text:
        return WrongFile(f"{path} is cut off ({text}): it was copied or fetched incompletely.")
    return WrongFile(f"{path}{what} ({text}): the file is damaged, or was copied incompletely.")


def _opened(path: Path) -> h5py.File:
    """Open a file to read, or say why that cannot be."""
    try:
        if not path.is_file():
            raise DataError(f"{path} is no file.")
        if not _has_signature(path):
            fault = wrong_file(path, HDF5_MAGIC) or "something else"
            raise WrongFile(f"{path} is not an HDF5 file: it is {fault}.")
        return h5py.File(path, "r")
    except DataError:
        raise
    except Exception as error:  # HDF5 meets arbitrary bytes here, and raises whatever it stumbled over
        raise in_words(path, error) from error


def _has_signature(path: Path) -> bool:
    """Return whether the signature of HDF5 stands at one of the places where it may."""
    size = path.stat().st_size
    with path.open("rb") as file:
        place = 0
        while place < size:
            file.seek(place)
            if file.read(len(HDF5_MAGIC)) == HDF5_MAGIC:
                return True
            place = max(SMALLEST_USER_BLOCK, place * 2)
    return False


def _dtype(dataset: h5py.Dataset) -> np.dtype:
    return np.dtype("U") if h5py.check_string_dtype(dataset.dtype) is not None else dataset.dtype


# ---- rows ------------------------------------------------------------------------------------------------------------


def _is_plain_gzip(dataset: h5py.Dataset) -> bool:
    if dataset.chunks is None:
        return False
    pipeline = dataset.id.get_create_plist()
    return pipeline.get_nfilters() == 1 and pipeline.get_filter(0)[0] == h5py.h5z.FILTER_DEFLATE


def _corners(dataset: h5py.Dataset, first: int, stop: int) -> Iterator[tuple[int, ...]]:
    """Yield the first element of every chunk that holds a part of these rows."""
    chunk = dataset.chunks
    axes = [range(first - first % chunk[0], stop, chunk[0])]
    axes += [range(0, length, step) for length, step in zip(dataset.shape[1:], chunk[1:], strict=True)]
    return itertools.product(*axes)


def _check_written(dataset: h5py.Dataset, first: int, stop: int) -> None:
    """Refuse rows of which the file has not every part: HDF5 would give zeros for it, and say nothing."""
    plan = dataset.id.get_create_plist()
    if plan.get_layout() == h5py.h5d.CHUNKED:
        for corner in _corners(dataset, first, stop):
            _stored_chunk(dataset, corner)  # finds it the way a read does, and raises where that fails
    elif plan.get_layout() == h5py.h5d.CONTIGUOUS and dataset.external is None and not dataset.id.get_storage_size():
        raise OSError("they are nowhere in the file")


def _stored_chunk(dataset: h5py.Dataset, corner: tuple[int, ...]) -> tuple[int, bytes]:
    """Fetch a chunk as it lies in the file; OSError where it was never written."""
    try:
        return dataset.id.read_direct_chunk(corner)
    except MemoryError as error:  # what h5py raises of a chunk without bytes
        raise OSError("they are nowhere in the file") from error


def _inflate_rows(dataset: h5py.Dataset, first: int, stop: int) -> np.ndarray:
    chunk = dataset.chunks
    rows = np.empty((stop - first, *dataset.shape[1:]), dataset.dtype)
    for corner in _corners(dataset, first, stop):
        filter_mask, deflated = _stored_chunk(dataset, corner)
        inflated = deflated if filter_mask else zlib.decompress(deflated)
        values = np.frombuffer(inflated, dataset.dtype).reshape(chunk)
        top = max(first, corner[0])
        bottom = min(stop, corner[0] + chunk[0])
        here = tuple(slice(c, min(c + s, n)) for c, s, n in zip(corner[1:], chunk[1:], dataset.shape[1:], strict=True))
        inside = tuple(slice(0, s.stop - s.start) for s in here)
        rows[(slice(top - first, bottom - first), *here)] = values[
            (slice(top - corner[0], bottom - corner[0]), *inside)
        ]
    return rows
