"""Files and HDUs that lie beside an image and are none: masks, weights, errors, point spread functions."""

from __future__ import annotations

import re
from pathlib import Path

MASKS = ("aperture", "mask", "badpix", "badpixel", "bpm", "dq", "flags", "quality", "segm", "segmap", "footprint")
WEIGHTS = ("wht", "weight", "weights", "ivar", "invvar", "nexp", "expmap", "exptime", "ctx")
ERRORS = ("var", "variance", "err", "error", "errors", "unc", "uncert", "uncertainty", "rms")
COMPANION_WORDS = frozenset((*MASKS, *WEIGHTS, *ERRORS, "psf"))


def companion_word(name: str) -> str | None:
    """Find a word in a name that says mask, weight, error or PSF; numbers beside it are no part of it."""
    words = re.findall(r"[a-z]+", name.lower())
    return next((word for word in words if word in COMPANION_WORDS), None)


def companion_file(path: Path) -> str | None:
    """Find such a word in the name of a file, without its suffixes and folders."""
    return companion_word(path.name.split(".")[0])
