"""The images that a model has seen in training, kept with it as digests, so that nobody tests it on them unawares."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroclf.errors import WeightsError

SEEN_FILE = "seen.npz"
SPLITS_SEEN = ("train", "val")  # weights are fitted on the first, chosen and calibrated on the second
_HEX_DIGITS = 16  # of a digest that are kept: 8 bytes, by which two of a million images are alike once in 10^7


@dataclass(frozen=True, eq=False)
class SeenImages:
    """Digests of the pixels of the images that a model was trained and validated on.

    They are of the numbers in the source (see `ImageCache.pixel_digests`), whatever images are prepared to: the same
    picture under another name or in another data set is found again; one that was compressed anew or turned is not.

    Attributes
    ----------
    train, val : (N,) uint64
    """

    train: np.ndarray
    val: np.ndarray

    @classmethod
    def of(cls, train_digests: np.ndarray, val_digests: np.ndarray) -> SeenImages:
        """Take the digests of an image cache, (N,) str, of either split."""
        return cls(_numbers(train_digests), _numbers(val_digests))

    def among(self, pixel_digests: np.ndarray) -> np.ndarray:
        """Name the split that each image of a data set was in: ``train``, ``val`` or empty, (N,) str."""
        numbers = _numbers(pixel_digests)
        return np.where(np.isin(numbers, self.train), "train", np.where(np.isin(numbers, self.val), "val", ""))


def write_seen(folder: Path, seen: SeenImages) -> None:
    """Write the digests into a model package."""
    np.savez(folder / SEEN_FILE, **{name: getattr(seen, name) for name in SPLITS_SEEN})


def read_seen(folder: Path) -> SeenImages | None:
    """Read the digests of a model package; None where it has none.

    Raises
    ------
    WeightsError
        The file is damaged.
    """
    path = folder / SEEN_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:  # numpy leaves a damaged one open
            columns = {name: saved[name] for name in SPLITS_SEEN}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is damaged ({error}). Fetch or package the model again.") from error
    if any(column.dtype != np.uint64 or column.ndim != 1 for column in columns.values()):
        raise WeightsError(f"{path} is damaged (it holds no digests). Fetch or package the model again.")
    return SeenImages(**columns)


def _numbers(digests: np.ndarray) -> np.ndarray:
    return np.array([int(str(digest)[:_HEX_DIGITS], 16) for digest in digests], np.uint64)
