"""FITS files to RGB uint8: which HDU, which planes, what to do with bad pixels, and how flux becomes brightness."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from astroclf.errors import ConfigError, ImageError

if TYPE_CHECKING:  # astropy (and matplotlib with it) takes two seconds to import: only where a FITS file is met
    from astropy.visualization import BaseInterval, BaseStretch

FITS_NAME = re.compile(r"\.(fits|fit|fts)(\.(gz|bz2|fz))?$|\.fz$", re.IGNORECASE)

MAX_VALUES = 2**28  # 1 GB as float32: more is a survey mosaic or a damaged header, not a cut-out

COLLAPSE: dict[str, Callable[..., np.ndarray]] = {"mean": np.nanmean, "median": np.nanmedian, "max": np.nanmax}
INTERVALS = ("zscale", "percentile", "minmax")
STRETCHES = ("asinh", "linear", "log", "sqrt")
FILLS = ("zero", "background")


def is_fits(path: Path) -> bool:
    """Whether the name is one of a FITS file: .fits, .fit, .fts, each also with .gz, .bz2 or .fz."""
    return FITS_NAME.search(path.name) is not None


@dataclass(frozen=True)
class FitsSettings:
    """How a FITS image becomes a picture.

    Attributes
    ----------
    hdu
        Index or name (EXTNAME) of the HDU; None takes the first one that holds an image.
    interval
        Which fluxes become black and white: ``zscale`` (IRAF's, ignores the few brightest), ``percentile``, ``minmax``.
    percentile
        For ``percentile``: this share of the pixels, in percent, lies between black and white.
    stretch
        Between black and white: ``asinh`` (faint arms and bright cores in one picture), ``linear``, ``log``, ``sqrt``.
    collapse
        A cube of other than 3 planes becomes one image by ``mean`` (for a spectral cube: the integrated line),
        ``median`` or ``max`` along its first axis.
    fill
        NaN, Inf and BLANK pixels become ``zero`` (black) or the image's ``background`` (its median).
    max_bad_fraction
        A file with a larger share of such pixels is refused.
    """

    hdu: int | str | None = None
    interval: str = "zscale"
    percentile: float = 99.5
    stretch: str = "asinh"
    collapse: str = "mean"
    fill: str = "zero"
    max_bad_fraction: float = 0.9

    def __post_init__(self) -> None:
        choices: tuple[tuple[str, tuple[str, ...]], ...] = (
            ("interval", INTERVALS),
            ("stretch", STRETCHES),
            ("collapse", tuple(COLLAPSE)),
            ("fill", FILLS),
        )
        for name, known in choices:
            if getattr(self, name) not in known:
                raise ConfigError(f"dataset.fits.{name}={getattr(self, name)} is not one of {', '.join(known)}.")
        if not 0 < self.percentile <= 100:
            raise ConfigError(f"dataset.fits.percentile={self.percentile} is not a percentage above 0.")

    @classmethod
    def from_config(cls, values: dict[str, Any] | None) -> Self:
        """From plain keys and values; an unknown key is a ConfigError that names the nearest known one."""
        known = [f.name for f in fields(cls)]
        for key in values or {}:
            if key not in known:
                near = get_close_matches(key, known, n=1)
                hint = f"did you mean `{near[0]}`?" if near else f"known are {', '.join(known)}."
                raise ConfigError(f"dataset.fits.{key} is no setting of FITS reading: {hint}")
        return cls(**(values or {}))

    def as_dict(self) -> dict[str, Any]:
        """Every setting, for fingerprints and records."""
        return asdict(self)


def read_fits(path: Path, settings: FitsSettings) -> np.ndarray:
    """Read one FITS file: (H, W, 3) uint8, north as the file has it (first row at the bottom, as FITS viewers show).

    One image becomes grey; three planes, (3, H, W) or (H, W, 3), become red, green and blue, each with its own
    black and white (their skies differ). Integer scaling (BSCALE, BZERO, unsigned), byte order, tile compression,
    .gz and .bz2 are undone by astropy.

    Raises
    ------
    ImageError
        No image in the file, or none that shows anything: table only, zero-sized, constant, all NaN, damaged.
    """
    planes = _planes(_read_values(path, settings), settings, path)
    return np.ascontiguousarray(stretch_planes(planes, settings, path)[::-1])


def _read_values(path: Path, settings: FitsSettings) -> np.ndarray:
    from astropy.io import fits as astropy_fits

    # astropy meets arbitrary bytes here and raises whatever its parser stumbled over (OSError, ValueError, TypeError,
    # zlib.error, EOFError, ...): all of it means that this file is damaged.
    try:
        # uint=False: unsigned integers arrive as floats like everything that is scaled, and BLANK becomes NaN.
        with astropy_fits.open(path, memmap=False, uint=False) as hdus:
            hdu = _choose_hdu(hdus, settings, path)
            _check_axes(hdu, path)
            values = hdu.data
            if values is None:
                raise ImageError(f"{path}: HDU {hdu.name or 'PRIMARY'} holds no data.")
            native = values.dtype.newbyteorder("=")
            return np.asarray(values, dtype=np.result_type(np.float32, native))
    except ImageError:
        raise
    except Exception as error:
        # The first sentence: astropy's further ones are hints for those who call it.
        fault = " ".join(str(error).split()).split(". ")[0].rstrip(".") or type(error).__name__
        raise ImageError(f"{path}: damaged, or not a FITS file: {fault}.") from error


def _choose_hdu(hdus: Any, settings: FitsSettings, path: Path) -> Any:
    if settings.hdu is not None:
        try:
            hdu = hdus[settings.hdu]
        except (KeyError, IndexError) as error:
            names = ", ".join(f"{i}: {h.name or type(h).__name__}" for i, h in enumerate(hdus))
            raise ImageError(
                f"{path}: there is no HDU `{settings.hdu}` (dataset.fits.hdu); the file has {names}."
            ) from error
        if not _is_image(hdu):
            raise ImageError(f"{path}: HDU `{settings.hdu}` (dataset.fits.hdu) is not an image but {_kind(hdu)}.")
        return hdu
    for hdu in hdus:
        if _is_image(hdu):
            return hdu
    raise ImageError(f"{path}: no HDU holds an image; the file has {', '.join(_kind(hdu) for hdu in hdus)}.")


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and not _is_groups(hdu) and len(hdu.shape) >= 2


def _is_groups(hdu: Any) -> bool:
    from astropy.io.fits import GroupsHDU

    return isinstance(hdu, GroupsHDU)


def _kind(hdu: Any) -> str:
    if _is_groups(hdu):
        return "random groups (interferometer visibilities)"
    if not hdu.is_image:
        return "a table"
    return f"{len(hdu.shape)}-D data" if hdu.shape else "a header without data"


def _check_axes(hdu: Any, path: Path) -> None:
    shape = tuple(hdu.shape)
    if 0 in shape:
        raise ImageError(f"{path}: the image has an axis of size zero ({' x '.join(map(str, shape))}).")
    if np.prod(shape, dtype=float) > MAX_VALUES:
        raise ImageError(
            f"{path}: {' x '.join(map(str, shape))} values are more than the limit of {MAX_VALUES:,}: a damaged "
            "header, or a mosaic to be cut into cut-outs first."
        )


def _planes(values: np.ndarray, settings: FitsSettings, path: Path) -> np.ndarray:
    """(H, W), (3, H, W), (H, W, 3) or a cube to (P, H, W) with P = 1 or 3; infinities become NaN."""
    while values.ndim > 3 and values.shape[0] == 1:  # radio images: degenerate Stokes and frequency axes
        values = values[0]
    values = np.where(np.isfinite(values), values, np.nan)
    if values.ndim == 2:
        return values[None]
    if values.ndim > 3:
        raise ImageError(f"{path}: the image has {values.ndim} axes ({' x '.join(map(str, values.shape))}).")
    if values.shape[0] == 3:
        return values
    if values.shape[2] == 3:
        return np.moveaxis(values, 2, 0)
    seen = np.isfinite(values).any(axis=0)
    collapsed = np.full(values.shape[1:], np.nan, values.dtype)
    collapsed[seen] = COLLAPSE[settings.collapse](values[:, seen], axis=0)
    return collapsed[None]


def stretch_planes(planes_PHW: np.ndarray, settings: FitsSettings, path: Path) -> np.ndarray:
    """Flux of 1 or 3 planes (NaN where unknown) to RGB uint8 (H, W, 3); `path` is for the error message.

    Raises
    ------
    ImageError
        Too few finite pixels, or nothing but one value.
    """
    finite = np.isfinite(planes_PHW)
    bad = 1 - finite.mean()
    if not finite.any():
        raise ImageError(f"{path}: every pixel is NaN, infinite or BLANK.")
    if bad > settings.max_bad_fraction:
        raise ImageError(
            f"{path}: {bad:.1%} of the pixels are NaN, infinite or BLANK, more than "
            f"dataset.fits.max_bad_fraction={settings.max_bad_fraction}."
        )
    if all(np.ptp(plane[seen]) == 0 for plane, seen in zip(planes_PHW, finite, strict=True) if seen.any()):
        raise ImageError(f"{path}: the image is constant: every pixel has the same value.")
    grey = [_stretch_plane(plane, seen, settings) for plane, seen in zip(planes_PHW, finite, strict=True)]
    return np.stack(grey * 3 if len(grey) == 1 else grey, axis=-1)


def _stretch_plane(plane_HW: np.ndarray, seen_HW: np.ndarray, settings: FitsSettings) -> np.ndarray:
    known = plane_HW[seen_HW].astype(np.float64)
    if known.size == 0 or np.ptp(known) == 0:
        return np.zeros(plane_HW.shape, np.uint8)  # one empty band of three: the others make the picture
    low, high = _interval(settings).get_limits(known.reshape(1, -1) if known.ndim == 1 else known)
    if not high > low:  # mostly one value, e.g. a masked background
        low, high = known.min(), known.max()
    background = np.median(known) if settings.fill == "background" else low
    filled = np.where(seen_HW, plane_HW, background)
    unit = np.clip((filled - low) / (high - low), 0, 1)
    return np.round(255 * np.asarray(_stretch(settings)(unit, clip=True))).astype(np.uint8)


def _interval(settings: FitsSettings) -> BaseInterval:
    from astropy.visualization import AsymmetricPercentileInterval, MinMaxInterval, ZScaleInterval

    if settings.interval == "minmax":
        return MinMaxInterval()
    if settings.interval == "percentile":
        outside = (100 - settings.percentile) / 2
        return AsymmetricPercentileInterval(outside, 100 - outside)
    return ZScaleInterval()


def _stretch(settings: FitsSettings) -> BaseStretch:
    from astropy.visualization import AsinhStretch, LinearStretch, LogStretch, SqrtStretch

    stretches = {"asinh": AsinhStretch(), "linear": LinearStretch(), "log": LogStretch(), "sqrt": SqrtStretch()}
    return stretches[settings.stretch]
