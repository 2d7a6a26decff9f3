"""What a model's training images are like, kept with it in numbers: so that new images can be held beside them."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from astroclf.errors import WeightsError
from astroclf.evaluation.image_statistics import statistics_of
from astroclf.evaluation.novelty import Novelty, NoveltyScale

PROFILE_FILE = "profile.npz"
MOST_EMBEDDINGS = 500  # of validation images: a megabyte of a network with a thousand features
_ARRAYS = {"center_F": 1, "whitening_FF": 2, "means_CF": 2}  # of `Novelty`, with their axes
_NUMBERS = ("middle", "limit")  # of its scale
_STATISTIC = "statistic_"


@dataclass(frozen=True, eq=False)
class TrainingProfile:
    """What is kept of the images that a model was trained and validated on: no pixel of any.

    Attributes
    ----------
    novelty : Novelty or None
        How unlike them an image is; None where that could not be fitted, or was not wanted.
    statistics : mapping of str to (N,) float32
        Of `astroclf.evaluation.image_statistics.measure`, for some of the training images.
    embeddings_NF : (N, F) float16
        What the network makes of some of the validation images: of those that it was fitted on it makes something else
        than of any new ones.
    """

    novelty: Novelty | None
    statistics: Mapping[str, np.ndarray]
    embeddings_NF: np.ndarray

    @cached_property
    def digest(self) -> str:
        """A digest of what decides the novelty of an image; empty without."""
        if self.novelty is None:
            return ""
        parts = [getattr(self.novelty, name).tobytes() for name in _ARRAYS]
        numbers = np.array([getattr(self.novelty.scale, name) for name in _NUMBERS]).tobytes()
        return hashlib.sha256(b"".join([*parts, numbers])).hexdigest()

    def misfit(self, features: int, channels: int) -> str:
        """Say why it cannot be that of a network of so many features and bands; empty where it can."""
        own = self.embeddings_NF.shape[1:] == (features,)
        if self.novelty is not None:
            shapes = (self.novelty.center_F.shape, self.novelty.whitening_FF.shape, self.novelty.means_CF.shape[1:])
            own = own and shapes == ((features,), (features, features), (features,))
        if not own:
            return f"it is not of {features} features"
        return "" if list(self.statistics) == list(statistics_of(channels)) else f"it is not of {channels} channels"


def write_profile(folder: Path, profile: TrainingProfile) -> None:
    """Write the profile into a model package."""
    columns: dict[str, np.ndarray] = {"embeddings": profile.embeddings_NF}
    columns |= {f"{_STATISTIC}{name}": values for name, values in profile.statistics.items()}
    if profile.novelty is not None:
        columns |= {name: getattr(profile.novelty, name) for name in _ARRAYS}
        columns |= {name: np.asarray(getattr(profile.novelty.scale, name)) for name in _NUMBERS}
    np.savez(folder / PROFILE_FILE, **columns)  # type: ignore[arg-type]


def read_profile(folder: Path, features: int, channels: int) -> TrainingProfile | None:
    """Read the profile in a model package; None where it has none.

    Raises
    ------
    WeightsError
        The file is damaged, or of another network.
    """
    path = folder / PROFILE_FILE
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as saved:  # numpy leaves a damaged one open
            columns = {name: saved[name] for name in saved.files}
        if not all(column.dtype.kind == "f" and np.isfinite(column).all() for column in columns.values()):
            raise ValueError("it holds no numbers")
        novelty = None
        if "limit" in columns:
            if any(columns[name].ndim != axes for name, axes in _ARRAYS.items()):
                raise ValueError("its tables have other axes")
            middle, limit = (float(columns[name]) for name in _NUMBERS)
            center_F, whitening_FF, means_CF = (columns[name] for name in _ARRAYS)
            novelty = Novelty(center_F, whitening_FF, means_CF, NoveltyScale(middle=middle, limit=limit))
        statistics = {
            name.removeprefix(_STATISTIC): column for name, column in columns.items() if name.startswith(_STATISTIC)
        }
        profile = TrainingProfile(novelty, statistics, columns["embeddings"])
        if fault := profile.misfit(features, channels):
            raise ValueError(fault)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise WeightsError(f"{path} is damaged ({error}). Fetch or package the model again.") from error
    return profile
