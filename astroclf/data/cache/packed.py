"""Images kept as lossless JPEG XL, one after another in a file: each is read alone, and comes out to the bit.

Of the quick ways of imagecodecs this one makes images smallest: real galaxies of 256 px in color take 41 % of their
room (128 px: 49 %, 64 px: 57 %). Blosc2 with Zstandard, which is decoded six times as fast, leaves 67 %, 68 % and 64 %;
but what is kept compressed is kept so for its size. Effort 1 of JPEG XL is packed four times as fast as it is decoded;
effort 2 takes eight times as long for 6 % less.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from astroclf.data.cache.npy_file import RowFile
from astroclf.errors import ConfigError, DataError
from astroclf.util.lazy import lazy_import
from astroclf.util.threads import available_cores, run_ahead

if TYPE_CHECKING:
    import imagecodecs
else:
    imagecodecs = lazy_import("imagecodecs")

EFFORT = 1  # of 1 to 9
DECODED_AT_ONCE = 32  # images, by one thread
PLACE_BYTES = 16  # of an image in the index: two int64, where it begins and how long it is
INDEX_SUFFIX = ".index.npy"


def check_jpegxl() -> None:
    """Refuse to begin where imagecodecs was built without JPEG XL.

    Raises
    ------
    ConfigError
        It was.
    """
    if not imagecodecs.JPEGXL.available:
        raise ConfigError(
            "dataset.cache_compression=jpegxl needs JPEG XL, which the installed imagecodecs was built without: "
            "install another (pip install --force-reinstall imagecodecs), or leave the images uncompressed with "
            "dataset.cache_compression=none."
        )


def pack(image: np.ndarray) -> bytes:
    """Return a uint8 image compressed, (H, W) or (H, W, C)."""
    return bytes(imagecodecs.jpegxl_encode(_as_picture(image), lossless=True, effort=EFFORT, numthreads=1))


def unpack(packed: bytes, shape: tuple[int, ...]) -> np.ndarray:
    """Return the image of this shape that was packed."""
    picture = imagecodecs.jpegxl_decode(packed, numthreads=1)
    if len(shape) == 2 or shape[2] in (1, 3):
        return np.asarray(picture).reshape(shape)
    return np.moveaxis(np.asarray(picture).reshape(shape[2], *shape[:2]), 0, 2)


def _as_picture(image: np.ndarray) -> np.ndarray:
    """Return an image of one band or three as it is, and of any other number its bands below each other."""
    if image.ndim == 3 and image.shape[2] == 1:
        image = image[..., 0]
    elif image.ndim == 3 and image.shape[2] != 3:
        image = np.moveaxis(image, 2, 0).reshape(-1, image.shape[1])
    return np.ascontiguousarray(image)


class PackedFile:
    """An open file of packed images with its index beside it, written in any order, as `RowFile` is.

    Parameters
    ----------
    path
        The file.
    shape
        (N, H, W) or (N, H, W, C) of all images.

    Attributes
    ----------
    is_new : bool
        This call made the file.
    names : tuple of str
        What it and its index are called.
    """

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        check_jpegxl()
        self._rest = shape[1:]
        index = path.with_name(path.name + INDEX_SUFFIX)
        self.names = (path.name, index.name)
        existed = path.is_file()
        self._index = RowFile(index, (shape[0], PLACE_BYTES))
        self.is_new = self._index.is_new or not existed
        self._file = path.open("w+b" if self.is_new else "r+b")

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""
        return (self._index.shape[0], *self._rest)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._index.__exit__(kind, error, trace)
        self._file.close()

    def packed(self, rows: np.ndarray) -> list[bytes]:
        """Return rows compressed: what `write` takes, for another thread to make."""
        return [pack(row) for row in rows]

    def missing_bytes(self, written: int) -> int:
        """Estimate the bytes that are still to come, by those of the rows that are `written`; 0 where none is."""
        total = self._file.seek(0, 2)
        return total * (self.shape[0] - written) // written if written else 0

    def read(self, start: int, stop: int) -> bytes:
        """Read what was written of the rows [start, stop)."""
        size, parts = self._file.seek(0, 2), []
        for begin, length in np.frombuffer(self._index.read(start, stop), np.int64).reshape(-1, 2).tolist():
            if 0 <= begin <= begin + length <= size:  # of an index that is damaged, nothing is believed
                self._file.seek(begin)
                parts.append(self._file.read(length))
        return b"".join(parts)

    def write(self, start: int, packed: Sequence[bytes | memoryview]) -> None:
        """Put packed images at the end of the file, and their places in the index."""
        ends = self._file.seek(0, 2) + np.cumsum([0, *map(len, packed)])
        self._file.write(b"".join(packed))
        self._file.flush()
        places = np.stack([ends[:-1], np.diff(ends)], axis=1).astype(np.int64)
        self._index.write(start, [places.tobytes()])

    def keep(self, rows: np.ndarray) -> None:
        """Keep only these rows (sorted) in the index."""
        self._index.keep(rows)

    def sync(self) -> None:
        """Wait until everything is on the disk."""
        self._file.flush()
        self._index.sync()


class PackedImages(Sequence[np.ndarray]):
    """Packed images of a file as an array of N images, read-only: those that are asked for are decoded, by all cores.

    Raises
    ------
    ValueError
        The index does not fit the file.
    """

    dtype = np.dtype(np.uint8)

    def __init__(self, path: Path, shape: tuple[int, ...]) -> None:
        check_jpegxl()
        self._path = path
        self._bytes = np.memmap(path, np.uint8, "r")
        index = np.load(path.with_name(path.name + INDEX_SUFFIX), mmap_mode="r", allow_pickle=False)
        self._places = np.array(index).view(np.int64)
        if self._places.shape != (shape[0], 2) or (self._places.sum(axis=1) > len(self._bytes)).any():
            raise ValueError(f"{path} and its index do not fit each other")
        self.shape = shape

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Axes, that of the rows included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded images."""
        return int(np.prod(self.shape))

    def __getitem__(self, rows: Any) -> np.ndarray:  # type: ignore[override]
        """Decode one row, a slice of them, or those of an array of numbers or of truth values."""
        if isinstance(rows, int | np.integer):
            return self._decode(range(len(self))[rows])
        chosen = np.arange(len(self))[rows]
        out = np.empty((len(chosen), *self.shape[1:]), np.uint8)
        parts = [slice(start, start + DECODED_AT_ONCE) for start in range(0, len(chosen), DECODED_AT_ONCE)]
        for _ in run_ahead(lambda part: self.take(chosen[part], out[part]), parts, available_cores()):
            pass
        return out

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self._decode, range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def take(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Decode these rows into an array, by the thread that asks."""
        for position, row in enumerate(rows.tolist()):
            out[position] = self._decode(row)

    def _decode(self, row: int) -> np.ndarray:
        begin, length = self._places[row].tolist()
        try:
            return unpack(self._bytes[begin : begin + length].tobytes(), self.shape[1:])
        except (ValueError, RuntimeError) as error:
            raise DataError(
                f"Image {row} in {self._path} is damaged ({error}). Remove the store, `astroclf stores "
                f"remove={self._path.parent.name}`, and run again: it is built anew."
            ) from error


Images = np.ndarray | PackedImages  # an image cache's
