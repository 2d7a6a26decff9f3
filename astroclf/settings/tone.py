"""What ``dataset.tone.*`` can say: how numbers that are not 8-bit become grey, as plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from astroclf.settings.base import SectionSettings

Interval = Literal["auto", "limits", "dataset", "zscale", "sigma", "percentile", "minmax"]
Stretch = Literal["auto", "linear", "asinh", "sqrt", "log"]


@dataclass(frozen=True, kw_only=True)
class ToneSettings(SectionSettings):
    """How numbers become grey; ``conf/dataset/_values.yaml`` explains each key.

    Raises
    ------
    ConfigError
        A value that cannot be, or two that contradict each other.
    """

    section, yaml = "dataset.tone", "dataset/_values"

    interval: Interval
    limits: list[float] | None
    percentile: float
    sigma: float
    stretch: Stretch
    color: Literal["per_band", "lupton"]
    lupton_stretch: float | None
    lupton_q: float
    lupton_minimum: float | list[float] | None
    fill: Literal["zero", "background"]
    max_bad_fraction: float

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.limits is not None and not (len(self.limits) == 2 and self.limits[0] < self.limits[1]):
            self.refuse("limits", "give two numbers, [black,white], black the smaller one, or null")
        if self.interval == "limits" and self.limits is None:
            self.refuse("interval", "say which numbers are black and white with dataset.tone.limits=[black,white]")
        if self.interval not in ("limits", "auto") and self.limits is not None:
            self.refuse("limits", f"dataset.tone.interval={self.interval} finds black and white by itself")
        if not 0 < self.percentile <= 100:
            self.refuse("percentile", "it is a percentage above 0")
        if not 0 <= self.max_bad_fraction <= 1:
            self.refuse("max_bad_fraction", "it is a share from 0 to 1")
        if not self.sigma >= 0:
            self.refuse("sigma", "it is 0 or more")
        for name in ("lupton_stretch", "lupton_q"):
            if getattr(self, name) is not None and not getattr(self, name) > 0:
                self.refuse(name, "it must be above 0")
        levels = self.lupton_minimum if isinstance(self.lupton_minimum, list) else [self.lupton_minimum or 0]
        if len(levels) not in (1, 3) or not all(isinstance(level, int | float) for level in levels):
            self.refuse("lupton_minimum", "give a flux, a list of three (one a band), or null")
