"""The data set: which one, how its images become pixels, and how it is divided."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import (
    ABSENT,
    CHANGEABLE,
    FOR_THE_RUN,
    FRACTION,
    PATH,
    PATH_OR_NAME,
    READING,
    Absent,
    ComponentSettings,
    Settings,
    above,
    at_least,
)
from astroclf.settings.columns import ColumnSettings
from astroclf.settings.fits import FitsSettings
from astroclf.settings.reading import ReadSettings
from astroclf.settings.tone import ToneSettings

ImagePlace = Literal["auto", "device", "memory", "disk"]
CacheCompression = Literal["none", "jpegxl"]
LabelConflicts = Literal["keep", "drop", "majority"]
SplitBy = Literal["samples", "sky"]
OnError = Literal["raise", "skip"]
Labels = Literal["required", "auto", "none"]  # whether a data set must have them, may have them, or is read without

UNNAMED = "data"  # what a data set is called whose place has no name


def name_after(path: str | Path | None) -> str:
    """Return the name of a data set after its folder or file, as folders and the model registry take it.

    Letters and digits of any script, dots, hyphens and underscores stay; whatever else becomes one underscore.
    """
    place = Path(path).expanduser().absolute() if path is not None else Path()
    place = Path(os.path.normpath(place))
    name = place.stem if place.is_file() else place.name
    return re.sub(r"[^\w.-]+", "_", name).strip("._-") or UNNAMED


@dataclass(frozen=True, kw_only=True)
class SplitSettings(Settings):
    """How a data set is divided into training, validation and test images; ``conf/dataset/_base.yaml`` explains it.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section = "dataset"

    val_fraction: Annotated[float, FOR_THE_RUN]
    test_fraction: Annotated[float, FOR_THE_RUN]
    fold: Annotated[str | None, FOR_THE_RUN]
    label_fraction: Annotated[float, FOR_THE_RUN]
    split_file: Annotated[str | None, PATH, FOR_THE_RUN]
    near_duplicates: Annotated[bool, FOR_THE_RUN]
    sky_arcsec: Annotated[float | None, FOR_THE_RUN]
    split_by: Annotated[SplitBy, FOR_THE_RUN]
    sky_nside: Annotated[int, FOR_THE_RUN]
    label_conflicts: Annotated[LabelConflicts, FOR_THE_RUN]
    split_seed: Annotated[int, FOR_THE_RUN]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.label_fraction <= 1:
            raise ConfigError(f"dataset.label_fraction={self.label_fraction} is no share above 0 and up to 1.")
        if self.sky_arcsec is not None and not self.sky_arcsec > 0:
            raise ConfigError(f"dataset.sky_arcsec={self.sky_arcsec} is no separation above 0; null ignores positions.")
        if not (0 < self.sky_nside <= 2**20 and self.sky_nside.bit_count() == 1):
            raise ConfigError(f"dataset.sky_nside={self.sky_nside} is no power of two: give 4, 8, 16 or the like.")
        test = self.test_fraction if self.fold is None else 0
        if not (self.val_fraction >= 0 and test >= 0 and self.val_fraction + test < 1):
            raise ConfigError(
                f"dataset.val_fraction={self.val_fraction} and dataset.test_fraction={self.test_fraction}: both must "
                "be 0 or more, and leave some to train."
            )
        self.fold_numbers()
        if self.fold is not None and self.split_file is not None:
            raise ConfigError("dataset.fold and dataset.split_file both say what is tested: give one of them.")

    def fold_numbers(self) -> tuple[int, int] | None:
        """Return the number of the fold, counted from 1, and how many there are; None without folds."""
        if self.fold is None:
            return None
        match = re.fullmatch(r"\s*(\d+)\s*/\s*(\d+)\s*", str(self.fold))
        which, count = (int(match[1]), int(match[2])) if match else (0, 0)
        if not 1 <= which <= count or count < 2:
            raise ConfigError(f"dataset.fold={self.fold} is no fold: 2/5 is the second of five.")
        return which, count


@dataclass(frozen=True, kw_only=True)
class DatasetSettings(SplitSettings, ComponentSettings):
    """A data set: a reader of ``conf/dataset``, where each key is explained, and how it is divided.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section = "dataset"

    name: Annotated[str, FOR_THE_RUN]
    path: Annotated[str | Absent | None, PATH, CHANGEABLE] = ABSENT
    classes: list[str] | str | Absent | None = ABSENT
    class_names: list[str] | Absent | None = ABSENT
    exclude_classes: list[str] | Absent = ABSENT
    image_size: Annotated[int, at_least(8), FOR_THE_RUN]
    channels: Annotated[int, at_least(1), FOR_THE_RUN]
    cache_dir: Annotated[str, PATH, FOR_THE_RUN, CHANGEABLE]
    cache_compression: Annotated[CacheCompression, FOR_THE_RUN, CHANGEABLE]
    keep_images_on: Annotated[ImagePlace, FOR_THE_RUN, CHANGEABLE]
    on_error: Annotated[OnError, FOR_THE_RUN]
    download: bool | Absent = ABSENT
    samples: int | Absent = ABSENT
    samples_per_class: int | Absent = ABSENT
    seed: int | Absent = ABSENT
    crop: Annotated[int | str | Absent | None, READING] = ABSENT
    pixel_scale: Annotated[float | Absent | None, above(0), READING] = ABSENT
    planes: Annotated[list[int] | Absent | None, READING] = ABSENT
    collapse: Annotated[Literal["mean", "median", "max"] | Absent, READING] = ABSENT
    tone: Annotated[ToneSettings | Absent, READING] = ABSENT
    fits: Annotated[FitsSettings | Absent, READING] = ABSENT
    table: Annotated[str | Absent, PATH_OR_NAME] = ABSENT
    columns: ColumnSettings | Absent = ABSENT
    min_vote: Annotated[float | Absent, FRACTION] = ABSENT
    on_unlabelled: OnError | Absent = ABSENT
    labels: Labels | Absent = ABSENT

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.classes, str) and self.classes != "found":
            raise ConfigError(
                f"'dataset.classes' cannot be {self.classes!r}: give a list such as [star,galaxy], or found."
            )
        if self.tone:
            self.reading.check_channels(self.channels)

    @property
    def is_named_after_its_place(self) -> bool:
        """Whether the name is that of the folder or file, which another data set may have too."""
        return self.name == name_after(self.path) if self.path else False

    @property
    def reading(self) -> ReadSettings:
        """How a file becomes a picture; keys that the data set has not got are as in ``conf/dataset/_files.yaml``."""
        given = {name: value for name in ReadSettings.declared() if (value := getattr(self, name)) is not ABSENT}
        return ReadSettings.with_defaults(**given)
