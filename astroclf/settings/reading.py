"""How one file becomes a picture: the keys of a data set that a decoder needs, together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, Self

from astroclf.errors import ConfigError
from astroclf.settings.base import Absent, Settings, above
from astroclf.settings.fits import FitsSettings, bands_give
from astroclf.settings.tone import ToneSettings
from astroclf.settings.yaml_files import yaml_values
from astroclf.util.text import nearest

ARCSEC_IN = {"arcsec": 1.0, '"': 1.0, "″": 1.0, "arcmin": 60.0, "'": 60.0, "′": 60.0, "deg": 3600.0, "°": 3600.0}


class Crop(NamedTuple):
    """The side of a centre cut-out: in pixels, or on the sky in arcseconds."""

    side: float
    unit: Literal["px", "arcsec"]


def parse_crop(text: int | str) -> Crop:
    """Read ``dataset.crop``: pixels such as 150 or 150px, or an angle such as 90arcsec, 1.5arcmin, 0.02deg.

    Raises
    ------
    ConfigError
        It is neither.
    """
    match = re.fullmatch(r"\s*([0-9.]+(?:e[-+]?[0-9]+)?)\s*(.*?)\s*", str(text))
    side = float(match[1]) if match and match[1].count(".") <= 1 and match[1] != "." else 0.0
    unit = match[2] if match else ""
    if side > 0 and unit in ("", "px", "pixel", "pixels") and side == int(side):
        return Crop(side, "px")
    if side > 0 and unit in ARCSEC_IN:
        return Crop(side * ARCSEC_IN[unit], "arcsec")
    raise ConfigError(
        f"dataset.crop={text} is no side of a cut-out: give whole pixels, such as 150, or an angle, such as 90arcsec."
    )


@dataclass(frozen=True, kw_only=True)
class ReadSettings(Settings):
    """What decides how one file becomes a picture; ``conf/dataset`` explains each key.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section = "dataset"

    crop: int | str | None
    pixel_scale: Annotated[float | None, above(0)]
    planes: list[int] | None
    collapse: Literal["mean", "median", "max"]
    tone: ToneSettings
    fits: FitsSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.crop is not None:
            parse_crop(self.crop)
        if self.planes is not None and (not self.planes or min(self.planes) < 0):
            raise ConfigError(
                f"dataset.planes={self.planes} cannot be: give a list of planes, counted from 0, or null."
            )
        named = self.fits.files or (self.fits.hdu if isinstance(self.fits.hdu, list) else None)
        if self.planes and len(self.planes) > 1 and named:
            many = "file" if self.fits.files else "HDU"
            raise ConfigError(
                f"dataset.planes={self.planes} cannot be: each {many} gives one band, since several are named: choose "
                "one plane, or null."
            )

    @property
    def cutout(self) -> Crop | None:
        """The centre cut-out to take, if any."""
        return None if self.crop is None else parse_crop(self.crop)

    @classmethod
    def with_defaults(
        cls,
        *,
        tone: ToneSettings | Mapping[str, Any] | Absent | None = None,
        fits: FitsSettings | Mapping[str, Any] | Absent | None = None,
        **changes: Any,
    ) -> Self:
        """Return the settings of ``conf/dataset/_files.yaml``, with changes; of sections, single keys may be given.

        Raises
        ------
        ConfigError
            A change of a key that there is not; or as the class.
        """
        defaults = yaml_values("dataset/_files")
        if unknown := [key for key in changes if key not in cls.declared()]:
            raise ConfigError(
                f"dataset.{unknown[0]} says nothing of reading files. {nearest(unknown[0], cls.declared())}"
            )
        values = {key: defaults[key] for key in cls.declared()} | changes
        values["tone"] = tone if isinstance(tone, ToneSettings) else ToneSettings.with_defaults(**(tone or {}))
        values["fits"] = fits if isinstance(fits, FitsSettings) else FitsSettings.with_defaults(**(fits or {}))
        return cls(**values)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_plain` gave, as a model package keeps it.

        Raises
        ------
        ConfigError
            It has a key that there is not.
        """
        return cls.with_defaults(**plain)

    def check_channels(self, channels: int) -> None:
        """Refuse settings that name another number of bands than `dataset.channels` can hold."""
        lists = {"fits.files": self.fits.files, "fits.hdu": self.fits.hdu, "planes": self.planes}
        named = next(((key, len(value)) for key, value in lists.items() if isinstance(value, list)), None)
        if named and not bands_give(named[1], channels):
            raise ConfigError(
                f"dataset.{named[0]} names {named[1]} band{'s' * (named[1] > 1)}, but images are to have "
                f"dataset.channels={channels}: set dataset.channels={named[1]}, or name {channels}."
            )
        if self.tone.color == "lupton" and (channels not in (1, 3) or (named and named[1] != 3)):
            raise ConfigError(
                "dataset.tone.color=lupton makes one color picture of three bands (red, green, blue): it needs "
                "dataset.channels=3 and, where bands are named, three of them. Take per_band for any other number."
            )
