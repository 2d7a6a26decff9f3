"""Numbers to grey: one rule for each kind of numbers, decided once for a data set and then the same for every file.

8-bit pictures are grey already and stay as they are. Where they stand beside other numbers in a data set, that is one
of its rules, `PICTURES`; a data set of pictures alone has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from astroclf.data.catalog import Note
from astroclf.data.decode.stretch import Curve, InEachFile, background, sampled, stretch_bands
from astroclf.data.decode.values import EIGHT_BIT, FITS, Decoded, Values
from astroclf.errors import ImageError
from astroclf.settings.tone import ToneSettings

MEASURED_PIXELS = 2**17  # of a file, by which it is told what its numbers are
POOLED_PIXELS = 2**12  # of a file, among those of all files by which percentiles are measured

# Integers that are not negative: white is the largest number of the fewest of these bits that hold all of the sample's.
NATURAL_BITS = (8, 10, 12, 14, 16, 24, 32, 64)

NUMBER_TYPES = {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}  # others are bits that are declared

# A file is a picture if all but so many of its numbers are 0 to 1 (integers: are not negative), as resampled pictures
# overshoot at a few edges, and if those few are no farther off than OVERSHOOT. A kind of numbers is pictures if all but
# STRAY_FILES of its files are, and the brightest number of all is not fainter than FAINTEST_WHITE: fluxes may be.
STRAY_SHARE = 0.01
OVERSHOOT = 0.25
STRAY_FILES = 0.1
FAINTEST_WHITE = 0.1

# Floats are 8-bit pictures in another type if all are whole numbers up to WHITE_8_BIT, some beyond half of it, on a
# background that is not 0: counts of photons are whole, too, and mostly none.
WHITE_8_BIT = 255.0

# Measured numbers are sparse if the medians over the sampled files are so: few pixels SPARSE_SIGMA σ above the
# background, and a peak far above it. 48 VLA cut-outs: 0.24 % and 103 σ (their inner half 0.7 % and 73 σ, inner third
# 1.6 % and 72 σ); single files 0.03 to 1.3 % and 7 to 1,900 σ. 43 simulated optical files: 5.3 % and 51 σ. Of 15 real
# ones, galaxies, clusters and SDSS fields have 1.6 to 17 % and 12 to 14,000 σ, none of them on the sparse side of both;
# a shallow star field 0.04 % but 7 σ.
SPARSE_SIGMA = 5.0
SPARSE_SHARE = 0.02
SPARSE_PEAK = 20.0
PEAK_PIXELS = 4  # this many pixels are a peak: a star or a beam covers them, a cosmic ray or a hot pixel does not

SUITED_CURVE: dict[str, Curve] = {"zscale": "asinh", "percentile": "asinh", "minmax": "asinh", "sigma": "sqrt"}


@dataclass(frozen=True)
class Tone:
    """How numbers of one kind become grey, and why so.

    Attributes
    ----------
    interval
        ``limits``: `low` is black and `high` white, in every file; else how they are found in each file.
    stretch
        The curve between black and white.
    reason
        What it was decided by, in words.
    used_share
        Which share of the range from black to white holds 99 % of the sample's numbers; None where each file has a
        range of its own.
    """

    interval: Literal["limits"] | InEachFile
    stretch: Curve
    low: float | None = None
    high: float | None = None
    reason: str = ""
    used_share: float | None = None

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """Return what `to_plain` gave."""
        return cls(**plain)

    def sentence(self, kind: str) -> str:
        """Say in one line what becomes of numbers of this kind."""
        rules = {
            "limits": f"{number_text(self.low)} is black and {number_text(self.high)} white",
            "zscale": "black and white of each file by ZScale",
            "sigma": "black above the noise of each file, white at its peak (interval=sigma)",
            "percentile": "black and white at percentiles of each file",
            "minmax": "black and white at the extremes of each file",
        }
        return f"{kind} numbers become grey by: {rules[self.interval]}, stretch={self.stretch} ({self.reason})."


Tones = Mapping[str, Tone]

PICTURES = Tone("limits", "linear", 0.0, WHITE_8_BIT, reason="they are grey values already")


def number_text(number: float | None) -> str:
    """Write black or white as the files have it: whole, or to six digits."""
    if number is None:
        return "unset"
    return f"{number:,.0f}" if number == int(number) else f"{number:.6g}"


class Measured(NamedTuple):
    """The numbers of one file, in few: what decides how those of its kind become grey."""

    kind: str
    least: float
    most: float
    beyond_unit: float  # share of the numbers outside 0..1
    below_zero: float  # share of the numbers
    peak_sigma: float  # how far the PEAK_PIXELS brightest lie above the background, σ
    above_share: float  # of the pixels, more than SPARSE_SIGMA above the background
    is_whole: bool  # whether all of these are whole numbers
    pooled: np.ndarray  # some of the numbers, float64


# What is measured of an 8-bit picture, whose grey values say by themselves what is black and white: that there is one.
PICTURE = Measured(EIGHT_BIT, 0.0, WHITE_8_BIT, 0.0, 0.0, 0.0, 0.0, is_whole=True, pooled=np.zeros(0))


def tones_from_plain(plain: Mapping[str, Mapping[str, Any]]) -> dict[str, Tone]:
    """Return the tones of a data set from what an image cache or a model package keeps of them."""
    return {kind: Tone.from_plain(tone) for kind, tone in plain.items()}


def decide_tones(sample: Iterable[Values], settings: ToneSettings) -> dict[str, Tone]:
    """Decide how each kind of numbers in a sample of a data set's files becomes grey; one file is held at a time."""
    return decide_measured(map(measure, sample), settings)


def decide_measured(sample: Iterable[Measured | None], settings: ToneSettings) -> dict[str, Tone]:
    """Decide likewise by files that `measure` has measured, each where it was read; None had nothing to measure."""
    of_kind: dict[str, list[Measured]] = {}
    for measured in sample:
        if measured is not None:
            of_kind.setdefault(measured.kind, []).append(measured)
    pictures = of_kind.pop(EIGHT_BIT, None)
    tones = {kind: _decide(of_kind[kind], settings) for kind in sorted(of_kind)}
    return tones | {EIGHT_BIT: PICTURES} if pictures and tones else tones


def to_grey(values: Values, tones: Tones, settings: ToneSettings, where: str) -> Decoded:
    """Turn numbers into grey by the rule of their kind: (H, W, P) uint8, and what is to be said of them.

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
        return Decoded(values.pixels_HWP, values.notes)
    measured = None if values.kind in tones else measure(values)
    tone = tones.get(values.kind) or (_decide([measured], settings) if measured else Tone("minmax", "linear"))
    interval: Any = (tone.low, tone.high) if tone.interval == "limits" else tone.interval
    grey_HWP = stretch_bands(np.moveaxis(values.pixels_HWP, 2, 0), interval, tone.stretch, settings, where)
    return Decoded(grey_HWP, (*values.notes, *_clipped(values, tone, settings, where)))


def kinds_of(tones: Tones) -> frozenset[str]:
    """Return the kinds of numbers in the data set that these rules are of."""
    return frozenset(tones) or frozenset({EIGHT_BIT})


def kinds_in_words(kinds: Iterable[str]) -> str:
    """Name the files or numbers that these kinds are."""
    known = {EIGHT_BIT: "8-bit pictures", FITS: "FITS files"}
    return " and ".join(known.get(kind, f"{kind} numbers") for kind in sorted(kinds))


def check_kind(values: Values, tones: Tones, where: str) -> None:
    """Refuse numbers of a kind that a trained model has no rule for.

    Raises
    ------
    ImageError
        Of kind ``no rule``.
    """
    kinds = kinds_of(tones)
    if values.kind in kinds:
        return
    learned = kinds_in_words(kinds)
    what, why = f"holds {values.kind} numbers", "it has no rule by which others become grey"
    wanted = f"{learned}, or a model that was trained on {kinds_in_words([values.kind])}"
    if values.kind == EIGHT_BIT:
        what, why = "is an 8-bit picture", "its black and white were chosen by another rule than the model's"
    elif FITS in kinds:
        wanted += "; an array from a FITS file becomes an HDU by astropy.io.fits.PrimaryHDU(array)"
    raise ImageError(f"{where}: {what}, and the model learned from {learned}: {why}. Give {wanted}.", "no rule")


def _clipped(values: Values, tone: Tone, settings: ToneSettings, where: str) -> list[Note]:
    """Note a file whose numbers go beyond what the sample of files led to expect."""
    if settings.interval != "auto" or tone.high is None:
        return []
    share = float(np.mean(sampled(values.pixels_HWP, MEASURED_PIXELS) > tone.high))
    if share <= STRAY_SHARE:
        return []
    text = f"{where}: {share:.0%} of its numbers are larger than {tone.high:g}, which is white in this data set."
    return [Note("beyond white", text)]


# ---- what a file holds ----------------------------------------------------------------------------------------------


def measure(values: Values) -> Measured | None:
    """Measure the numbers of one file; None where there is nothing to measure: not one finite number."""
    if values.kind == EIGHT_BIT:
        return PICTURE
    bands = [_finite(values.pixels_HWP[..., band]) for band in range(values.pixels_HWP.shape[2])]
    bands = [band for band in bands if band.size]
    if not bands:
        return None
    numbers = np.concatenate([sampled(band, MEASURED_PIXELS // len(bands)) for band in bands]).astype(np.float64)
    noise = [_above_background(band) for band in bands]
    return Measured(
        values.kind,
        least=float(min(band.min() for band in bands)),
        most=float(max(band.max() for band in bands)),
        beyond_unit=float(np.mean((numbers < 0) | (numbers > 1))),
        below_zero=float(np.mean(numbers < 0)),
        peak_sigma=float(np.median([peak for peak, _ in noise])),
        above_share=float(np.median([share for _, share in noise])),
        is_whole=bool(np.all(numbers == np.rint(numbers))),
        pooled=sampled(numbers, POOLED_PIXELS),
    )


def _finite(band_HW: np.ndarray) -> np.ndarray:
    flat = band_HW.reshape(-1)
    return flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat


def _above_background(band: np.ndarray) -> tuple[float, float]:
    """Return the peak in σ above the background, and the share of pixels that are `SPARSE_SIGMA` above it."""
    some = sampled(band, MEASURED_PIXELS).astype(np.float64)
    level, noise = background(some)
    if noise == 0:
        return 0.0, 0.0
    bright = band[band > level + SPARSE_SIGMA * noise]
    peak = float(np.partition(bright, -PEAK_PIXELS)[-PEAK_PIXELS]) if len(bright) >= PEAK_PIXELS else level
    return (peak - level) / noise, float(np.mean(some > level + SPARSE_SIGMA * noise))


# ---- what is decided ------------------------------------------------------------------------------------------------


def _decide(sample: Sequence[Measured], settings: ToneSettings) -> Tone:
    """Decide for one kind of numbers."""
    kind, files = sample[0].kind, _files(len(sample))
    wanted = None if settings.stretch == "auto" else settings.stretch
    if settings.interval == "limits":
        assert settings.limits is not None
        low, high = settings.limits
        return _fixed(sample, low, high, wanted or "linear", "dataset.tone.limits")
    pictures = _picture_limits(kind, sample)
    if settings.interval == "dataset":
        low, high = _percentiles(sample, settings.percentile)
        curve: Curve = wanted or ("linear" if pictures else "asinh")
        says = f"they hold {settings.percentile:g} % of the numbers of {files}; dataset.tone.interval=dataset"
        return _fixed(sample, low, high, curve, says)
    if settings.interval != "auto":
        curve = wanted or SUITED_CURVE[settings.interval]
        return Tone(settings.interval, curve, reason=f"dataset.tone.interval={settings.interval}")
    if pictures:
        low, high, says = pictures
        return _fixed(sample, low, high, wanted or "linear", f"{says}; dataset.tone.interval=auto")
    peak = float(np.median([file.peak_sigma for file in sample]))
    share = float(np.median([file.above_share for file in sample]))
    interval: InEachFile = "sigma" if share < SPARSE_SHARE and peak > SPARSE_PEAK else "zscale"
    reason = (
        f"{files}: {'sparse, ' if interval == 'sigma' else ''}{share:.2%} of the pixels {SPARSE_SIGMA:g} σ above the "
        f"background, peak {peak:,.0f} σ{', by the median' if len(sample) > 1 else ''}; dataset.tone.interval=auto"
    )
    return Tone(interval, wanted or SUITED_CURVE[interval], reason=reason)


def _fixed(sample: Sequence[Measured], low: float, high: float, curve: Curve, reason: str) -> Tone:
    pooled = np.concatenate([file.pooled for file in sample])
    least, most = np.percentile(np.clip((pooled - low) / (high - low), 0, 1), [0.5, 99.5])
    return Tone("limits", curve, float(low), float(high), reason, used_share=round(float(most - least), 6))


def _picture_limits(kind: str, sample: Sequence[Measured]) -> tuple[float, float, str] | None:
    """Find black and white of numbers that are a picture's grey values in another form, and say why; else None."""
    if kind == "bool":
        return 0.0, 1.0, "they are true or false"
    files, most = _files(len(sample)), max(file.most for file in sample)
    if kind == "float":
        if _is_8_bit(sample, most):
            return 0.0, WHITE_8_BIT, f"the numbers of {files} are whole ones from 0 to {most:,.0f}, as of 8 bits"
        good = [f.beyond_unit <= STRAY_SHARE and f.least >= -OVERSHOOT and f.most <= 1 + OVERSHOOT for f in sample]
    else:
        good = [f.below_zero <= STRAY_SHARE and kind != FITS for f in sample]
    if np.mean(good) < 1 - STRAY_FILES or (kind == "float" and most < FAINTEST_WHITE):
        return None
    if kind == "float":
        return 0.0, 1.0, f"the numbers of {files} are 0 to 1"
    there_are = int(kind.removeprefix("u").removeprefix("int")) - (not kind.startswith("u"))  # one bit is the sign
    if kind not in NUMBER_TYPES:
        return 0.0, float(2**there_are - 1), f"{there_are} bits are declared"
    bits = next((bits for bits in NATURAL_BITS if most < 2**bits), there_are)
    return 0.0, float(2 ** min(bits, there_are) - 1), f"the largest number of {files} is {most:,.0f}"


def _is_8_bit(sample: Sequence[Measured], most: float) -> bool:
    whole = all(file.is_whole and file.least >= 0 for file in sample)
    return (
        whole and WHITE_8_BIT / 2 < most <= WHITE_8_BIT and float(np.median([np.median(f.pooled) for f in sample])) > 0
    )


def _percentiles(sample: Sequence[Measured], percentile: float) -> tuple[float, float]:
    outside = (100 - percentile) / 2
    low, high = np.percentile(np.concatenate([file.pooled for file in sample]), [outside, 100 - outside])
    if not high > low:  # mostly one number, e.g. a black sky
        low, high = min(file.least for file in sample), max(file.most for file in sample)
    return float(low), float(high) if high > low else float(low) + 1


def _files(count: int) -> str:
    return "the file" if count == 1 else f"{count} sampled files"
