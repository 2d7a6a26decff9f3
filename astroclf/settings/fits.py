"""What ``dataset.fits.*`` can say: how FITS files become pictures, as plain values. Reading is in `fits`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import PurePath
from typing import Any, Literal, Self, get_args, get_origin

from astroclf.errors import ConfigError
from astroclf.settings.base import Settings
from astroclf.settings.yaml_files import yaml_values
from astroclf.util.text import nearest

FITS_NAME = re.compile(r"\.(fits|fit|fts)(\.(gz|bz2|fz))?$|\.fz$", re.IGNORECASE)
ID = "{id}"  # in a name pattern: the part that the band files of one sample share


def is_fits(path: PurePath) -> bool:
    """Return whether the name is one of a FITS file: .fits, .fit, .fts, each also with .gz, .bz2 or .fz."""
    return FITS_NAME.search(path.name) is not None


def bands_give(bands: int, channels: int) -> bool:
    """Return whether so many bands can make an image of `channels` planes: as many, or grey to RGB, or RGB to grey."""
    return bands == channels or (bands, channels) in ((1, 3), (3, 1))


@dataclass(frozen=True, kw_only=True)
class FitsSettings(Settings):
    """How FITS files become pictures; ``conf/dataset/_files.yaml`` explains each key.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section = "dataset.fits"

    hdu: int | str | list[int | str] | None
    planes: list[int] | None
    collapse: Literal["mean", "median", "max"]
    files: list[str] | None
    color: Literal["per_band", "lupton"]
    interval: Literal["zscale", "percentile", "minmax"]
    percentile: float
    stretch: Literal["asinh", "linear", "log", "sqrt"]
    lupton_stretch: float | None
    lupton_q: float
    lupton_minimum: float | list[float] | None
    fill: Literal["zero", "background"]
    max_bad_fraction: float
    checksum: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, key in self.declared().items():
            if get_origin(key.type) is Literal and getattr(self, name) not in get_args(key.type):
                self._refuse(name, f"choose one of {', '.join(get_args(key.type))}")
        for hdu in self.hdu if isinstance(self.hdu, list) and self.hdu else [self.hdu]:
            if isinstance(hdu, bool) or not isinstance(hdu, int | str | None):
                self._refuse("hdu", "give an index (0 is the primary HDU), a name, a list of those, or null")
        if self.planes is not None and (not self.planes or min(self.planes) < 0):
            self._refuse("planes", "give a list of planes, counted from 0, or null")
        if not 0 < self.percentile <= 100:
            self._refuse("percentile", "it is a percentage above 0")
        if not isinstance(self.checksum, bool):
            self._refuse("checksum", "it is true or false")
        if not 0 <= self.max_bad_fraction <= 1:
            self._refuse("max_bad_fraction", "it is a share from 0 to 1")
        for name in ("lupton_stretch", "lupton_q"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                self._refuse(name, "it must be above 0")
        levels = self.lupton_minimum if isinstance(self.lupton_minimum, list) else [self.lupton_minimum or 0]
        if len(levels) not in (1, 3) or not all(isinstance(level, int | float) for level in levels):
            self._refuse("lupton_minimum", "give a flux, a list of three (one a band), or null")
        self._check_files()

    def _check_files(self) -> None:
        if self.files is not None and (not self.files or len(set(self.files)) < len(self.files)):
            self._refuse("files", "give one name pattern a band, each once, or null")
        for pattern in self.files or ():
            path = PurePath(pattern)
            if path.name.count(ID) != 1 or pattern.count(ID) != 1 or path.is_absolute() or ".." in path.parts:
                self._refuse("files", f"each name must hold {ID} once, where the names of one sample's bands agree")
            if not is_fits(path):
                self._refuse("files", "each name must end as those of FITS files do, such as .fits or .fits.gz")
        if self.files and isinstance(self.hdu, list):
            self._refuse("hdu", "with dataset.fits.files, each file gives one band: name one HDU, or null")
        if self.planes and len(self.planes) > 1 and (self.files or isinstance(self.hdu, list)):
            many = "file" if self.files else "HDU"
            self._refuse("planes", f"each {many} gives one band, since several are named: choose one plane, or null")

    def _refuse(self, name: str, rule: str) -> None:
        raise ConfigError(f"dataset.fits.{name}={getattr(self, name)} cannot be: {rule}.")

    @classmethod
    def with_defaults(cls, **changes: Any) -> Self:
        """Return the settings of ``conf/dataset/_files.yaml``, with changes.

        Raises
        ------
        ConfigError
            A change of a key that there is not; or as the class.
        """
        defaults = _defaults()
        for key in changes:
            if key not in defaults:
                raise ConfigError(f"dataset.fits.{key} is no setting of FITS reading. {nearest(key, defaults)}")
        return cls(**(defaults | changes))

    def check_channels(self, channels: int) -> None:
        """Refuse settings that name another number of bands than `dataset.channels` can hold."""
        named = next(
            ((key, len(value)) for key in ("files", "hdu", "planes") if isinstance(value := getattr(self, key), list)),
            None,
        )
        if named and not bands_give(named[1], channels):
            raise ConfigError(
                f"dataset.fits.{named[0]} names {named[1]} band{'s' * (named[1] > 1)}, but images are to have "
                f"dataset.channels={channels}: set dataset.channels={named[1]}, or name {channels}."
            )
        if self.color == "lupton" and (channels not in (1, 3) or (named and named[1] != 3)):
            raise ConfigError(
                "dataset.fits.color=lupton makes one color picture of three bands (red, green, blue): it needs "
                "dataset.channels=3 and, where bands are named, three of them. Take per_band for any other number."
            )


@cache
def _defaults() -> dict[str, Any]:
    return yaml_values("dataset/_files")["fits"]
