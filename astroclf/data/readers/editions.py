"""The two editions of Galaxy10, and how they are told from each other and from other people's arrays.

The files of both hold `images` and `ans`. Names, numbers and checksums are those of the documentation of astroNN, by
whose author both are: https://astronn.readthedocs.io/en/latest/galaxy10.html (DECaLS), galaxy10sdss.html (SDSS). The
class counts that it gives for SDSS add up to 21,830 where the file has 21,785 images, so they are not used.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroclf.data.readers.array_files import HDF5_SUFFIXES, NPZ_SUFFIX, open_arrays
from astroclf.data.readers.hdf5 import HDF5_MAGIC
from astroclf.errors import DataError
from astroclf.util.download import RemoteFile

IMAGES = "images"
LABEL_NAMES = ("ans", "labels")  # of the official HDF5 files, and of the npy pair that some make of them
TEN = np.arange(10)


@dataclass(frozen=True)
class Edition:
    """One edition of Galaxy10.

    Attributes
    ----------
    choice
        The choice of ``dataset`` that reads it.
    side
        Height and width of its images, pixels.
    by_hand
        How people fetch its file by themselves, a sentence without its full stop.
    """

    title: str
    choice: str
    classes: tuple[str, ...]
    images: int
    side: int
    by_hand: str
    remote: RemoteFile

    @property
    def about(self) -> str:
        """Its name and size, for messages."""
        return f"{self.title} ({self.images:,} images of {self.side} px)"


_DECALS_BY_HAND = (
    "Fetch Galaxy10_DECals.h5 (2.5 GB) from https://zenodo.org/records/10845026 and put it there, or give its place as "
    "dataset.path=FILE"
)
DECALS = Edition(
    title="Galaxy10 DECaLS",
    choice="galaxy10",
    classes=(
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
    ),
    images=17736,
    side=256,
    by_hand=_DECALS_BY_HAND,
    remote=RemoteFile(
        name="Galaxy10_DECals.h5",
        urls=(
            "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
            "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5?download=1",
        ),
        sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
        remedy=f"{_DECALS_BY_HAND}, or choose a folder with room by dataset.cache_dir=.",
        magic=HDF5_MAGIC,
        min_bytes=2_000_000_000,
    ),
)
DECALS_COUNTS = (1081, 1853, 2645, 2027, 334, 2043, 1829, 2628, 1423, 1873)  # images of each class in the whole file

_SDSS_BY_HAND = (
    "Fetch Galaxy10.h5 (210 MB) from https://zenodo.org/records/10844811 and put it there, or give its place as "
    "dataset.path=FILE"
)
SDSS = Edition(
    title="Galaxy10 SDSS",
    choice="galaxy10_sdss",
    classes=(
        "Disk, Face-on, No Spiral",
        "Smooth, Completely round",
        "Smooth, in-between round",
        "Smooth, Cigar shaped",
        "Disk, Edge-on, Rounded Bulge",
        "Disk, Edge-on, Boxy Bulge",
        "Disk, Edge-on, No Bulge",
        "Disk, Face-on, Tight Spiral",
        "Disk, Face-on, Medium Spiral",
        "Disk, Face-on, Loose Spiral",
    ),
    images=21785,
    side=69,
    by_hand=_SDSS_BY_HAND,
    remote=RemoteFile(
        name="Galaxy10.h5",
        urls=(
            "https://zenodo.org/records/10844811/files/Galaxy10.h5?download=1",
            "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10.h5",
        ),
        sha256="969a6b1cefcc36e09fffa86febd2f699a4aa19b837ba0427f01b0bc6ded458af",
        remedy=f"{_SDSS_BY_HAND}, or choose a folder with room by dataset.cache_dir=.",
        magic=HDF5_MAGIC,
        min_bytes=200_000_000,
    ),
)
EDITIONS = (DECALS, SDSS)


def label_name(names: Collection[str]) -> str | None:
    """Return the name under which a file keeps its labels; None where it has none."""
    return next((name for name in LABEL_NAMES if name in names), None)


def recognise(shape: tuple[int, ...], labels: np.ndarray, names: Collection[str]) -> Edition | None:
    """Return the edition that arrays are certainly of; None where they may be anything.

    Proof is: DECaLS's own column `pxscale`, or its sky columns beside `ans`; the class counts of the whole file; 69
    pixels square, a size that nothing else has; or `ans` with all ten labels at DECaLS's size. Ten labels alone are
    no proof, nor are 256 pixels: both are common.

    Parameters
    ----------
    shape
        Of the images, (N, H, W, 3).
    labels
        (N,) integers.
    names
        Of all arrays beside them.
    """
    present, counts = np.unique(labels, return_counts=True)
    official = "ans" in names
    if (official and "pxscale" in names) or tuple(counts.tolist()) == DECALS_COUNTS:
        return DECALS
    if shape[1:3] == (SDSS.side, SDSS.side):
        return SDSS
    if official and ({"ra", "dec", "redshift"} <= set(names) or (shape[1] == DECALS.side and has_all_ten(present))):
        return DECALS
    return None


def has_all_ten(labels: np.ndarray) -> bool:
    """Return whether labels are the numbers 0 to 9, each of them at least once."""
    return np.array_equal(np.unique(labels), TEN)


def choose_reader(path: Path) -> str:
    """Return the choice of ``dataset`` that reads the arrays at a path: the edition that they are, or ``arrays``.

    A file that cannot be read is left to the edition of its name, which then says what is wrong with it.
    """
    try:
        file = open_arrays(path)
        name = label_name(file.names())
        if IMAGES in file.names() and name:
            shape, labels = file.shape(IMAGES), file.read(name)
            if len(shape) == 4 and shape[3] == 3 and labels.ndim == 1 and labels.dtype.kind in "iu":
                edition = recognise(shape, labels, file.names())
                return edition.choice if edition else "arrays"
    except (DataError, OSError):
        pass
    named = {edition.remote.name.lower(): edition.choice for edition in EDITIONS}
    return named.get(path.name.lower(), "arrays")


def holds_arrays(path: Path) -> bool:
    """Return whether what lies at a path looks like arrays, and not like a folder of pictures."""
    return path.suffix.lower() in (*HDF5_SUFFIXES, NPZ_SUFFIX) or (path / f"{IMAGES}.npy").is_file()
