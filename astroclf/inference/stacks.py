"""Many images in one file, HDF5, npz or npy, as samples: each row is one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from astroclf.data.decode.axes import FEW_PLANES
from astroclf.data.readers.array_files import open_arrays
from astroclf.data.readers.arrays import bands_axis
from astroclf.data.readers.editions import IMAGES
from astroclf.errors import DataError
from astroclf.inference.samples import Sample, identity
from astroclf.util.tables import cell_text

ROWS_AT_ONCE = 64  # as far as the chunks of the file allow


class Stack:
    """The images of one array; arrays of one value an image that lie beside it are carried along.

    Parameters
    ----------
    path
        The file, or the folder of an ``.npy`` file.
    word
        What the user calls it.
    images
        The name of the array; None: ``images``, or the only one that can hold images.

    Raises
    ------
    DataError
        The file cannot be read, or has no images, or several arrays that could be them.
    """

    def __init__(self, path: Path, word: str, images: str | None = None) -> None:
        self.word = word
        self._file = open_arrays(path)
        names = self._file.names()
        self._images = images or self._only_images(names)
        shape, dtype = self._file.shape(self._images), self._file.dtype(self._images)
        if len(shape) not in (3, 4) or 0 in shape or dtype.kind not in "biuf":
            raise DataError(
                f"{path}: {self._file.called(self._images)} is {dtype} of shape {shape}; images are numbers of shape "
                "(N, H, W) or (N, H, W, bands)."
            )
        self._count, self._axis = shape[0], bands_axis(shape)
        is_one_array = path.is_dir() and not Path(word).expanduser().is_dir()
        self.columns = tuple(name for name in names if not is_one_array and self._is_column(name))
        self.identity = "|".join(map(identity, self._file.files_of(self._images, *self.columns)))
        chunk = self._file.chunk_rows(self._images)
        self._slab = chunk * max(1, ROWS_AT_ONCE // chunk)

    def samples(self, left_out: object) -> Iterator[Sample]:
        """Yield a sample for each image."""
        known = {name: self._file.read(name).reshape(-1) for name in self.columns}
        for row in range(self._count):
            carried = {name: cell_text(values[row].item()) for name, values in known.items()}
            yield Sample(f"{self.word}[{row}]", stack=self, row=row, carried=carried)

    def slab_of(self, row: int) -> int:
        """Return the number of the part of the file that an image lies in."""
        return row // self._slab

    def read(self, first: int, stop: int) -> np.ndarray:
        """Read the images [first, stop), (N, H, W) or (N, H, W, bands)."""
        images = self._file.read_rows(self._images, first, stop)
        return np.moveaxis(images, self._axis, 3) if images.ndim == 4 else images

    def _only_images(self, names: list[str]) -> str:
        if IMAGES in names:
            return IMAGES
        fitting = [name for name in names if len(self._file.shape(name)) in (3, 4)]
        if len(fitting) == 1:
            return fitting[0]
        has = ", ".join(f"{self._file.called(name)} {self._file.shape(name)}" for name in names) or "no array"
        raise DataError(
            f"{self._file.path} has no array `{IMAGES}`, but {has}: call the one that holds images (N, H, W) or "
            f"(N, H, W, bands) `{IMAGES}`."
        )

    def _is_column(self, name: str) -> bool:
        """Tell if an array holds one number or text an image."""
        shape, dtype = self._file.shape(name), self._file.dtype(name)
        return name != self._images and shape in ((self._count,), (self._count, 1)) and dtype.kind in "biufUS"


def is_stack(path: Path, channels: int) -> bool:
    """Tell if an ``.npy`` file holds many images, and not one: by its header, of which a damaged file has none.

    Of three axes, the first counts images where neither it nor the last is short enough for colors or bands.
    """
    try:
        shape = open_arrays(path.parent).shape(path.stem)
    except DataError:
        return False
    return len(shape) == 4 or (len(shape) == 3 and min(shape[0], shape[2]) > max(FEW_PLANES, channels))
