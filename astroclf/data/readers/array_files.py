"""Named arrays in a folder of ``.npy`` files, an ``.npz`` archive or an HDF5 file, read alike."""

from __future__ import annotations

import itertools
import threading
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from astroclf.data.readers.hdf5 import Hdf5Arrays, WrongFile
from astroclf.errors import DataError
from astroclf.util.download import wrong_file

HDF5_SUFFIXES = (".h5", ".hdf5", ".hdf")
NPZ_SUFFIX = ".npz"
NPY_MAGIC = b"\x93NUMPY"
ZIP_MAGIC = b"PK\x03\x04"
IDENTITY_BYTES = 2**20  # of the head and of the tail of a file, hashed into the fingerprint
DEGREE_LIMITS = {"ra": 360, "dec": 90}
SIMULATED = "simulated"  # array of a truth value a row, in files that our simulator writes
NUMPY_SLAB_ROWS, NUMPY_SLAB_BYTES = 256, 64 * 2**20  # what is read at once, where nothing lies in chunks


class ArrayFile(Protocol):
    """Named arrays, of which the first axis counts samples, in one file or folder.

    Attributes
    ----------
    path
        The file or folder.
    format
        ``NumPy`` or ``HDF5``.
    """

    path: Path
    format: str

    def names(self) -> list[str]:
        """List the arrays that there are."""
        ...

    def files_of(self, *names: str) -> list[Path]:
        """List the files that hold these arrays."""
        ...

    def called(self, name: str) -> str:
        """Return what to call an array in errors."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, before any of it is read."""
        ...

    def dtype(self, name: str) -> np.dtype:
        """Return the type of an array, before any of it is read."""
        ...

    def slab_rows(self, name: str) -> int:
        """Return how many rows are cheap to read at once."""
        ...

    def chunk_rows(self, name: str) -> int:
        """Return how many rows can be read only together, since they are compressed as one."""
        ...

    def read(self, name: str) -> np.ndarray:
        """Read all of a small array."""
        ...

    def read_rows(self, name: str, first: int, stop: int) -> np.ndarray:
        """Read the rows [first, stop) of an array; called from several threads."""
        ...


def open_arrays(path: Path) -> ArrayFile:
    """Open what holds arrays: a folder of ``.npy`` files, an ``.npz`` archive, or an HDF5 file.

    Raises
    ------
    WrongFile
        It is none of these, or proven to be damaged.
    DataError
        It cannot be opened now.
    """
    if path.is_dir():
        return NpyFolder(path)
    return NpzArchive(path) if path.suffix.lower() == NPZ_SUFFIX else Hdf5Arrays(path)


def slab_blocks(file_rows: np.ndarray, slab: int) -> list[range]:
    """Divide the rows of a catalog, at `file_rows` of a file, into blocks that lie in the same slab of the file."""
    slabs = file_rows // slab
    starts = [0, *(np.flatnonzero(np.diff(slabs)) + 1).tolist(), len(slabs)]
    return [range(start, stop) for start, stop in itertools.pairwise(starts)]


def identity(path: Path) -> bytes:
    """Return what tells one version of a file from another, without reading gigabytes."""
    status = path.stat()
    with path.open("rb") as file:
        head = file.read(IDENTITY_BYTES)
        file.seek(max(0, status.st_size - IDENTITY_BYTES))
        tail = file.read(IDENTITY_BYTES)
    return f"{status.st_size}|{status.st_mtime_ns}|".encode() + head + tail


def read_sky(file: ArrayFile, images: int) -> dict[str, np.ndarray]:
    """Read `ra` and `dec` as columns of a `Catalog`, float64 degrees; nothing where one of them is missing.

    NaN is unknown. Beside them stands `simulated`, where the file says so of each row.

    Raises
    ------
    DataError
        They are of another length, or no degrees.
    """
    if not DEGREE_LIMITS.keys() <= set(file.names()):
        return {}
    columns = {f"{name}_deg": _degrees(file, name, limit, images) for name, limit in DEGREE_LIMITS.items()}
    if SIMULATED in file.names() and file.shape(SIMULATED) == (images,) and file.dtype(SIMULATED).kind in "biu":
        columns[SIMULATED] = file.read(SIMULATED).astype(bool)
    return columns


def _degrees(file: ArrayFile, name: str, limit: int, images: int) -> np.ndarray:
    called = f"{file.path}: {file.called(name)}"
    if file.shape(name) != (images,):
        raise DataError(f"{called} has shape {file.shape(name)}, but there are {images} images.")
    if file.dtype(name).kind not in "iuf":
        raise DataError(f"{called} is {file.dtype(name)}; it must be numbers, in degrees.")
    degrees = file.read(name).astype(np.float64)
    wrong = np.flatnonzero(np.abs(degrees) > limit)
    if len(wrong):
        raise DataError(
            f"{called} is {degrees[wrong[0]]} in row {wrong[0]} ({len(wrong)} such rows): no angle in degrees from "
            f"-{limit} to {limit}."
        )
    return degrees


class NpyFolder:
    """A folder with one ``.npy`` file an array, mapped and not read whole, as an `ArrayFile`."""

    format = "NumPy"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._headers: dict[str, tuple[tuple[int, ...], np.dtype]] = {}

    def names(self) -> list[str]:
        """List the arrays that there are."""
        return sorted(file.stem for file in self.path.glob("*.npy") if not file.name.startswith("."))

    def files_of(self, *names: str) -> list[Path]:
        """List the files that hold these arrays."""
        return [self.path / f"{name}.npy" for name in names]

    def called(self, name: str) -> str:
        """Return what to call an array in errors."""
        return f"`{name}.npy`"

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an array, before any of it is read."""
        return self._header(name)[0]

    def dtype(self, name: str) -> np.dtype:
        """Return the type of an array, before any of it is read."""
        return self._header(name)[1]

    def slab_rows(self, name: str) -> int:
        """Return how many rows are cheap to read at once."""
        return _numpy_slab_rows(*self._header(name))

    def chunk_rows(self, name: str) -> int:
        """Return how many rows can be read only together."""
        return 1

    def read(self, name: str) -> np.ndarray:
        """Read all of a small array."""
        return np.array(self._mapped(name))

    def read_rows(self, name: str, first: int, stop: int) -> np.ndarray:
        """Read the rows [first, stop) of an array."""
        return np.array(self._mapped(name)[first:stop])

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        if name not in self._headers:
            array = self._mapped(name)
            self._headers[name] = (array.shape, array.dtype)
        return self._headers[name]

    def _mapped(self, name: str) -> np.ndarray:
        file = self.path / f"{name}.npy"
        try:
            with file.open("rb") as opened:
                head = opened.read(len(NPY_MAGIC))
            if head.startswith(ZIP_MAGIC):
                raise WrongFile(_is_npz(file))
            if head != NPY_MAGIC:
                raise WrongFile(f"{file} is not a readable .npy file: it is {wrong_file(file, NPY_MAGIC)}.")
            array: Any = np.load(file, mmap_mode="r", allow_pickle=False)
        except DataError:
            raise
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}.") from error
        except Exception as error:  # NumPy's parser of the header raises whatever it stumbled over
            if "Python objects" in str(error):
                raise DataError(_objects(str(file))) from error
            raise WrongFile(f"{file} is not a readable .npy file ({error}): write it again with numpy.save.") from error
        surplus = file.stat().st_size - array.offset - array.nbytes
        if surplus:
            raise WrongFile(
                f"{file} is {surplus:,} bytes longer than the array of shape {array.shape} that its header "
                "announces: it is damaged, write it again with numpy.save."
            )
        return array


class NpzArchive:
    """An archive of ``numpy.savez``, as an `ArrayFile`; the images are read into memory, once and whole."""

    format = "NumPy"

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._read: dict[str, np.ndarray] = {}
        self._headers: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
        try:
            with zipfile.ZipFile(path) as archive:
                for member in archive.namelist():
                    if member.endswith(".npy"):
                        with archive.open(member) as opened:
                            self._headers[member.removesuffix(".npy")] = _header_of(opened)
        except OSError as error:
            raise DataError(f"{path} cannot be read: {error.strerror or error}.") from error
        except Exception as error:  # the parsers of zip and npy meet arbitrary bytes
            fault = wrong_file(path, ZIP_MAGIC) or f"damaged or cut off ({error})"
            raise WrongFile(f"{path} is not an .npz archive: it is {fault}.") from error

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
        """Return the type of an array, before any of it is read."""
        return self._headers[name][1]

    def slab_rows(self, name: str) -> int:
        """Return how many rows are cheap to read at once."""
        return _numpy_slab_rows(*self._headers[name])

    def chunk_rows(self, name: str) -> int:
        """Return how many rows can be read only together: all are read at the first time, and kept."""
        return 1

    def read(self, name: str) -> np.ndarray:
        """Read all of an array, once."""
        with self._lock:
            if name not in self._read:
                try:
                    with np.load(self.path, allow_pickle=False) as archive:
                        self._read[name] = archive[name]
                except MemoryError as error:
                    size = int(np.prod(self.shape(name))) * self.dtype(name).itemsize
                    raise DataError(
                        f"{self.path}: `{name}` takes {size / 1e9:.1f} GB of memory, more than is free: an .npz is "
                        "unpacked whole. A folder with images.npy is read piece by piece."
                    ) from error
                except Exception as error:  # the parsers of zip and npy meet arbitrary bytes
                    if "Object arrays" in str(error):
                        raise DataError(_objects(f"{self.path}: `{name}`")) from error
                    raise WrongFile(f"{self.path}: `{name}` is damaged ({error}).") from error
            return self._read[name]

    def read_rows(self, name: str, first: int, stop: int) -> np.ndarray:
        """Read the rows [first, stop) of an array."""
        return self.read(name)[first:stop]


def _numpy_slab_rows(shape: tuple[int, ...], dtype: np.dtype) -> int:
    row_bytes = max(1, int(np.prod(shape[1:])) * dtype.itemsize)
    return max(1, min(NUMPY_SLAB_ROWS, NUMPY_SLAB_BYTES // row_bytes))


def _header_of(opened: Any) -> tuple[tuple[int, ...], np.dtype]:
    """Read shape and type of an array in the ``.npy`` format."""
    version = np.lib.format.read_magic(opened)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(opened)
    return shape, dtype


def _objects(where: str) -> str:
    return (
        f"{where} holds Python objects (dtype=object), which are not read: unpickling them could run code. Save "
        "numbers with a number type, and text with numpy.array(labels, dtype=str)."
    )


def _is_npz(file: Path) -> str:
    """Say that an ``.npz`` archive has the name of an ``.npy`` file, and what to do."""
    try:
        with zipfile.ZipFile(file) as archive:
            names: Sequence[str] = [Path(name).stem for name in archive.namelist()]
    except zipfile.BadZipFile:
        names = ()
    holds = f" ({', '.join(names)})" if names else ""
    return (
        f"{file} is an archive of numpy.savez{holds} under the name of an array: write the array with numpy.save, "
        "or keep all in one archive, numpy.savez('FILE.npz', images=..., labels=...), and give that as dataset.path=."
    )
