"""Fast reading of image rows from an HDF5 data set that is chunked across rows."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path

import h5py
import numpy as np

from astroclf.errors import DataError

# The official Galaxy10 file keeps 555 images together in each chunk: one image read alone decompresses 109 MB.
OFFICIAL_CHUNK_ROWS = 555
MAX_SLAB_BYTES = 256 * 2**20


def slab_rows(shape: tuple[int, ...], chunks: tuple[int, ...] | None) -> int:
    """How many rows to read at once: the chunk height, or what fits in memory when the file is not chunked so."""
    row_bytes = int(np.prod(shape[1:]))
    height = chunks[0] if chunks else OFFICIAL_CHUNK_ROWS
    if height * row_bytes <= MAX_SLAB_BYTES // 4:  # thin chunks: several of them at a time
        height *= max(1, min(256 // height, MAX_SLAB_BYTES // 4 // (height * row_bytes)))
    elif chunks is None:
        height = max(1, MAX_SLAB_BYTES // row_bytes)
    return height


def read_rows(path: Path, name: str, first: int, stop: int) -> np.ndarray:
    """Rows [first, stop) of data set `name`, uint8 (stop - first, H, W, C).

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
            return dataset[first:stop]
    except (OSError, RuntimeError, ValueError, KeyError, zlib.error) as error:
        raise DataError(
            f"{path}: rows {first} to {stop - 1} of `{name}` cannot be read ({error}): the file is damaged or was "
            "copied incompletely; fetch it again."
        ) from error


def _is_plain_gzip(dataset: h5py.Dataset) -> bool:
    if dataset.chunks is None:
        return False
    pipeline = dataset.id.get_create_plist()
    return pipeline.get_nfilters() == 1 and pipeline.get_filter(0)[0] == h5py.h5z.FILTER_DEFLATE


def _inflate_rows(dataset: h5py.Dataset, first: int, stop: int) -> np.ndarray:
    chunk = dataset.chunks
    rows = np.empty((stop - first, *dataset.shape[1:]), np.uint8)
    first_chunk = first - first % chunk[0]
    axes = [range(first_chunk, stop, chunk[0])]
    axes += [range(0, length, step) for length, step in zip(dataset.shape[1:], chunk[1:], strict=True)]
    for corner in itertools.product(*axes):
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
