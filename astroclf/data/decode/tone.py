"""Numbers to grey: one rule for each kind of numbers, decided once for a data set and then the same for every file.

8-bit pictures are grey already and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from astroclf.data.decode.stretch import Tone, stretch_bands
from astroclf.data.decode.values import EIGHT_BIT, Values
from astroclf.settings.tone import ToneSettings

Tones = Mapping[str, Tone]


def decide_tones(sample: Iterable[Values], settings: ToneSettings) -> dict[str, Tone]:
    """Decide how each kind of numbers in a sample of a data set's files becomes grey."""
    of_kind: dict[str, list[Values]] = {}
    for values in sample:
        if values.kind != EIGHT_BIT:
            of_kind.setdefault(values.kind, []).append(values)
    return {kind: _decide(kind, of_kind[kind], settings) for kind in sorted(of_kind)}


def _decide(kind: str, sample: list[Values], settings: ToneSettings) -> Tone:
    stretch = "asinh" if settings.stretch == "auto" else settings.stretch
    if settings.interval == "auto":
        if kind == "uint16":
            return Tone("limits", "linear", 0.0, 65535.0)
        pixels = sample[0].pixels_HWP
        if kind == "float" and np.isfinite(pixels).all() and pixels.min() >= 0 and 0 < pixels.max() <= 1:
            return Tone("limits", "linear", 0.0, 1.0)
        return Tone("zscale", stretch)
    if settings.interval == "limits":
        assert settings.limits is not None
        return Tone("limits", "linear" if settings.stretch == "auto" else settings.stretch, *settings.limits)
    return Tone(settings.interval, stretch)  # type: ignore[arg-type]


def to_grey(values: Values, tones: Tones, settings: ToneSettings, where: str) -> np.ndarray:
    """Turn numbers into grey by the rule of their kind: (H, W, P) uint8.

    Parameters
    ----------
    tones
        Where the kind is not among them, it is decided from these numbers alone.
    where
        What to call the file in errors.

    Raises
    ------
    ImageError
        Too few finite pixels, nothing but one value, or another number of bands than three for ``lupton``.
    """
    if values.kind == EIGHT_BIT:
        return values.pixels_HWP
    tone = tones.get(values.kind) or _decide(values.kind, [values], settings)
    return stretch_bands(np.moveaxis(values.pixels_HWP, 2, 0), tone, settings, where)
