"""What people have becomes the pixels that a model learned from, by the rules that are stored with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from PIL import Image

from astroclf.data.decode.axes import choose_planes
from astroclf.data.decode.bands import check_bands, to_channels
from astroclf.data.decode.fits import read_hdu
from astroclf.data.decode.images import cut_out, fit_square, read_bands, read_values, to_picture
from astroclf.data.decode.limits import one_large_at_a_time
from astroclf.data.decode.pictures import from_pillow
from astroclf.data.decode.tone import check_kind, kinds_of, tones_from_plain
from astroclf.data.decode.values import Values, array_numbers
from astroclf.errors import ImageError
from astroclf.inference.spec import ModelSpec
from astroclf.settings.reading import ReadSettings

# How files begin whose format their name must tell; of all others the decoders look at the beginning themselves.
_SUFFIX_OF = {b"SIMPLE  =": ".fits", b"\x1f\x8b": ".fits.gz", b"BZh": ".fits.bz2", b"\x93NUMPY": ".npy"}


@dataclass(frozen=True)
class PixelRules:
    """What of a `ModelSpec` says how files become pixels, for images that no model is asked about."""

    image_size: int
    channels: int
    reading: Mapping[str, Any]
    tones: Mapping[str, Any]


class Preparation:
    """The way from one file or array to uint8 pixels, as the model's training data went it.

    Every method returns (S, S, channels) uint8, S the model's image size, and raises `ImageError` where there is no
    such image: missing, damaged, of other bands, or of numbers for which the model has no rule that makes them grey.

    Attributes
    ----------
    reading : ReadSettings
        Of the training's data set.
    tones : mapping of str to Tone
        How each kind of numbers becomes grey, as it was decided for that data set.
    kinds : frozenset of str
        Which numbers it takes, such as ``8-bit`` or ``FITS``: those that were in that data set.
    """

    def __init__(self, spec: ModelSpec | PixelRules) -> None:
        self.image_size, self.channels = spec.image_size, spec.channels
        self.reading = ReadSettings.from_plain(spec.reading)
        self.tones = tones_from_plain(spec.tones)
        self.kinds = kinds_of(self.tones)

    def file(self, path: Path) -> np.ndarray:
        """Prepare one file of any kind."""
        with one_large_at_a_time():
            return self.values(read_values(path, self.reading, self.channels), str(path))

    def band_files(self, paths: Sequence[Path], where: str) -> np.ndarray:
        """Prepare one sample whose bands are FITS files of their own, in channel order; `where` names it in errors."""
        with one_large_at_a_time():
            return self.values(read_bands(paths, where, self.reading, self.channels), where)

    def array(self, pixels: np.ndarray, where: str) -> np.ndarray:
        """Prepare numbers in memory, (H, W) or (H, W, bands)."""
        if pixels.ndim not in (2, 3) or 0 in pixels.shape or pixels.dtype.kind not in "biuf":
            raise ImageError(
                f"{where}: {pixels.dtype} of shape {pixels.shape} is no image: give numbers (height, width) or "
                "(height, width, bands).",
                "wrong shape",
            )
        found = array_numbers(pixels)
        planes_PHW = np.moveaxis(found.pixels_HWP, 2, 0)
        if self.reading.planes:
            planes_PHW = choose_planes(planes_PHW, self.reading, set(), where)
        return self.values(replace(found, pixels_HWP=np.moveaxis(planes_PHW, 0, 2)), where)

    def picture(self, picture: Image.Image, where: str) -> np.ndarray:
        """Prepare a Pillow image."""
        try:  # Pillow reads its file only now, and raises whatever its parser stumbles over
            values = from_pillow(picture)
        except Exception as error:
            raise ImageError(f"{where}: damaged or truncated: {error}.", "damaged") from error
        return self.values(values, where)

    def hdu(self, hdu: Any, where: str) -> np.ndarray:
        """Prepare one HDU of astropy's: it is the image, whichever the model chooses in a file."""
        if self.reading.fits.files or isinstance(self.reading.fits.hdu, list):
            bands = self.reading.fits.files or self.reading.fits.hdu
            raise ImageError(
                f"{where}: one HDU, but the model takes its bands from several: {bands}. Give the files, or the "
                "HDUList that has them all.",
                "wrong bands",
            )
        return self.values(read_hdu(hdu, self.reading, self.channels, where), where)

    def encoded(self, content: bytes, where: str) -> np.ndarray:
        """Prepare the bytes of one file, whose format their beginning tells."""
        with TemporaryDirectory(prefix="astroclf-") as folder:  # by the way of any file, so that both are one
            path = Path(folder) / f"image{_suffix(content)}"
            path.write_bytes(content)
            try:
                return self.file(path)
            except ImageError as error:
                raise ImageError(str(error).replace(str(path), where), error.kind) from error

    def values(self, values: Values, where: str) -> np.ndarray:
        """Prepare the numbers of one image."""
        check_kind(values, self.tones, where)
        picture, _ = to_picture(cut_out(values, self.reading, where), self.reading, self.channels, self.tones, where)
        check_bands(picture.shape[2], self.channels, where, "numbers")
        if (picture == picture[0, 0]).all():  # training refused it, too: there is nothing to tell a class by
            raise ImageError(f"{where}: the image is constant: every pixel comes out the same.", "constant")
        return fit_square(to_channels(picture, self.channels), self.image_size)


def _suffix(content: bytes) -> str:
    return next((suffix for start, suffix in _SUFFIX_OF.items() if content.startswith(start)), "")
