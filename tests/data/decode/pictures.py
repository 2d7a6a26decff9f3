"""Files to pictures as tests want them: by flat keys, and without what is said of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.data.decode.images import decode_bands, decode_file
from astroclf.settings.fits import FitsSettings
from astroclf.settings.reading import ReadSettings
from astroclf.settings.tone import ToneSettings


def reading(**keys: Any) -> ReadSettings:
    """Return the default settings with changes, each by the last part of its name."""
    sections: dict[str, dict[str, Any]] = {"tone": {}, "fits": {}}
    own: dict[str, Any] = {}
    for key, value in keys.items():
        place = sections["tone"] if key in ToneSettings.declared() else own
        (sections["fits"] if key in FitsSettings.declared() else place)[key] = value
    return ReadSettings.with_defaults(**own, **sections)


def decoded_file(path: Path, settings: ReadSettings | None = None, channels: int = 3) -> np.ndarray:
    """Decode one file, (H, W, C) uint8; how its numbers become grey is decided from it alone."""
    return decode_file(path, settings, channels).image_HWC


def decoded_bands(paths: Sequence[Path], where: str, settings: ReadSettings, channels: int = 3) -> np.ndarray:
    """Decode one sample of several files, likewise."""
    return decode_bands(paths, where, settings, channels).image_HWC
