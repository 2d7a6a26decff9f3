"""Fast reading of image rows from an HDF5 data set that is chunked across rows."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np

from astroclf.errors import DataError

# The official Galaxy10 file keeps 555 images together in each chunk: one image read alone decompresses 109 MB.
OFFICIAL_CHUNK_ROWS = 555
MAX_SLAB_BYTES = 256 * 2**20


def slab_rows(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> int:
    """Choose how many rows to read at once: the chunk height, or what fits in memory where that is not so chunked."""
    row_bytes = int(np.prod(shape[1:]))
    height = chunks[0] if chunks else OFFICIAL_CHUNK_ROWS
    if height * row_bytes <= MAX_SLAB_BYTES // 4:  # thin chunks: several of them at a time
        height *= max(1, min(256 // height, MAX_SLAB_BYTES // 4 // (height * row_bytes)))
    elif chunks is None:
        height = max(1, MAX_SLAB_BYTES // row_bytes)
    return height


def read_rows(path: Path, name: str, first: int, stop: int) -> np.ndarray:
    """Read the rows [first, stop) of data set `name`, uint8 (stop - first, H, W, C).

    Chunks that are gzip-compressed and nothing else are fetched as they lie in the file and inflated here: HDF5 does
    it under one lock for the whole process, zlib does it in parallel in as many threads as call this function.

    Raises
    ------
    DataError
        The file is damaged.
    """
    try:
        with h5py.File(path, "r") as file:
            dataset = file[name]
            if _is_plain_gzip(dataset) and (stop - first) * 2 >= dataset.chunks[0]:
                return _inflate_rows(dataset, first, stop)
            _check_written(dataset, first, stop)
            return dataset[first:stop]
    except Exception as error:  # HDF5 meets arbitrary bytes, and raises whatever it stumbled over
        raise DataError(
            f"{path}: rows {first} to {stop - 1} of `{name}` cannot be read ({error}): the file is damaged or was "
            "copied incompletely; fetch it again."
        ) from error


def read_column(dataset: h5py.Dataset) -> np.ndarray:
    """Read all of a data set with one value a row; OSError where a part of it is nowhere in the file."""
    _check_written(dataset, 0, len(dataset))
    return dataset[()]


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
            dataset.id.read_direct_chunk(corner)  # finds it the way a read does, and raises where that fails
    elif plan.get_layout() == h5py.h5d.CONTIGUOUS and dataset.external is None and not dataset.id.get_storage_size():
        raise OSError("they are nowhere in the file")


def _inflate_rows(dataset: h5py.Dataset, first: int, stop: int) -> np.ndarray:
    chunk = dataset.chunks
    rows = np.empty((stop - first, *dataset.shape[1:]), np.uint8)
    for corner in _corners(dataset, first, stop):
        filter_mask, deflated = dataset.id.read_direct_chunk(corner)
        inflated = deflated if filter_mask else zlib.decompress(deflated)
        values = np.frombuffer(inflated, np.uint8).reshape(chunk)
        top = max(first, corner[0])
        bottom = min(stop, corner[0] + chunk[0])
        here = tuple(slice(c, min(c + s, n)) for c, s, n in zip(corner[1:], chunk[1:], dataset.shape[1:], strict=True))
        inside = tuple(slice(0, s.stop - s.start) for s in here)
        rows[(slice(top - first, bottom - first), *here)] = values[
            (slice(top - corner[0], bottom - corner[0]), *inside)
        ]
    return rows
