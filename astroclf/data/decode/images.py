"""One image, of any picture format that astronomers keep, to uint8 of a fixed square size.

How pixel values become 0..255 (the same rule for every file, so that brightness compares between images):

* 8 bit: as they are. Palette and CMYK become RGB, transparency is laid over black (the sky), EXIF rotation is undone.
* 16-bit integers: divided by the dtype's range (65535 becomes 255): a photograph that a camera or editor wrote.
* floats within 0..1: times 255, the convention of image editors.
* other floats and 32-bit integers are measurements, not pictures: they get the stretch of FITS files (`stretch.py`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from astroclf.data.decode.bands import in_fours
from astroclf.data.decode.checksums import check_png
from astroclf.data.decode.fits import read_band_files, read_fits
from astroclf.data.decode.stretch import stretch_bands
from astroclf.errors import ImageError
from astroclf.settings.fits import FitsSettings, is_fits

# Raise this whenever the same file would give other pixels than before: image caches of the old rules are then rebuilt.
PREPARATION_VERSION = 2

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")

# A 20 kB file can claim 65500 x 65500 pixels. Pillow's own limit: 0.5 GB of RGB.
MAX_PIXELS = 178_956_970

EXIF_ORIENTATION = 0x0112
FORMAT_OF_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}


def is_image(path: Path) -> bool:
    """Tell if a name is one of a picture or FITS file."""
    return path.suffix.lower() in PICTURE_SUFFIXES or is_fits(path)


def decode_file(path: Path, fits: FitsSettings | None = None, channels: int = 3) -> np.ndarray:
    """Decode one file at its own size.

    Returns
    -------
    (H, W, 3) uint8, RGB, where `channels` is 1 or 3: a data set in grey is made of the same pictures as one in color,
    by `to_channels`. Else (H, W, channels), one plane a band.

    Raises
    ------
    ImageError
        The file is missing, empty, damaged, too large, or holds no image of so many bands.
    """
    fits = fits or FitsSettings.with_defaults()
    _check_there(path)
    if is_fits(path):
        return read_fits(path, fits, channels)
    if channels not in (1, 3):
        raise ImageError(
            f"{path}: a picture has 3 bands (RGB) or 1 (grey), but dataset.channels={channels}: only FITS files have "
            "other numbers of bands.",
            "wrong bands",
        )
    return _read_picture(path, fits)


def decode_bands(paths: Sequence[Path], where: str, fits: FitsSettings, channels: int = 3) -> np.ndarray:
    """Decode one sample whose bands are FITS files of their own, in channel order; as `decode_file`.

    `where` names the sample in errors that are of no single file.
    """
    for path in paths:
        if not path.exists():
            raise ImageError(f"{path}: there is no such file, one of the bands in dataset.fits.files.", "missing")
        _check_there(path)
    return read_band_files(paths, fits, channels, where)


def _check_there(path: Path) -> None:
    """Refuse a file that is missing or empty, before a decoder says something less clear."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.", "missing") from error
    if size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes).", "empty")


def _read_picture(path: Path, fits: FitsSettings) -> np.ndarray:
    # The decoders below meet arbitrary bytes and raise whatever their parser stumbled over (OSError, ValueError,
    # SyntaxError, struct.error, ...): all of it means that this file is damaged.
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.", "missing") from error
    try:
        check_png(encoded, path)
        with Image.open(io.BytesIO(encoded)) as picture:
            _check_size(path, *picture.size)
            return _pillow_to_rgb(picture, path, fits)
    except ImageError:
        raise
    except Exception as error:
        # Only what Pillow does not know at all: what it finds damaged, OpenCV would read with other pixels.
        is_other_tiff = isinstance(error, Image.UnidentifiedImageError) and encoded[:2] in (b"II", b"MM")
        pixels = _read_tiff(path, encoded) if is_other_tiff else None
        if pixels is None:
            text, kind = _what_is_wrong(encoded, error)
            raise ImageError(f"{path}: {text}", kind) from error
        return _measurements_to_rgb(pixels, path, fits)


def _pillow_to_rgb(picture: Image.Image, path: Path, fits: FitsSettings) -> np.ndarray:
    picture.load()  # the whole file: a truncated one raises here, where OpenCV would return a half-grey image
    picture = _turned_by_exif(picture)
    mode = picture.mode
    if mode.startswith(("I", "F")):
        return _measurements_to_rgb(np.asarray(picture), path, fits)
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _turned_by_exif(picture: Image.Image) -> Image.Image:
    try:
        turned = picture.getexif().get(EXIF_ORIENTATION, 1) != 1
        return ImageOps.exif_transpose(picture) if turned else picture
    except Exception:  # a damaged EXIF block says nothing against the pixels, and any parser error may come from it
        return picture


def _read_tiff(path: Path, encoded: bytes) -> np.ndarray | None:
    """Read a color TIFF of floats or wide integers, which Pillow does not know: (H, W, 3), RGB."""
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(encoded[:8])
        header = io.BytesIO(encoded)
        header.seek(tags.next)
        tags.load(header)
        width, height = tags[TiffImagePlugin.IMAGEWIDTH], tags[TiffImagePlugin.IMAGELENGTH]
    except Exception:  # any error of its parser: no TIFF at all
        return None
    _check_size(path, width, height)
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None:
        return None
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., 2::-1]) if pixels.shape[2] >= 3 else pixels[..., 0]


def _measurements_to_rgb(pixels: np.ndarray, path: Path, fits: FitsSettings) -> np.ndarray:
    """Turn (H, W) or (H, W, 3) of any dtype into RGB uint8, by the rule in this module's docstring."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype == np.uint8:
        scaled = pixels
    elif pixels.dtype == np.uint16:
        scaled = np.round(pixels / 257.0).astype(np.uint8)
    elif pixels.dtype.kind == "f" and np.isfinite(pixels).all() and pixels.min() >= 0 and 0 < pixels.max() <= 1:
        scaled = np.round(pixels * 255.0).astype(np.uint8)
    else:
        bands = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        scaled = stretch_bands(bands.astype(np.float64), fits, str(path))
    scaled = scaled[..., None] if scaled.ndim == 2 else scaled
    return np.repeat(scaled, 3, axis=2) if scaled.shape[2] == 1 else scaled


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}: a damaged header, or a "
            "mosaic to be cut into cut-outs first.",
            "too large",
        )


def _what_is_wrong(encoded: bytes, error: Exception) -> tuple[str, str]:
    """Say in words why decoding failed, and give the kind of `ImageError`."""
    start = encoded[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page (an error page saved under the name of a picture?), not an image.", "no image"
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {MAX_PIXELS:,}: a damaged header, or a mosaic to be cut up.", "too large"
    if isinstance(error, Image.UnidentifiedImageError):
        if name := next((name for magic, name in FORMAT_OF_MAGIC.items() if encoded.startswith(magic)), None):
            return f"damaged or truncated: a {name} file that cannot be read beyond its beginning.", "damaged"
        return "not a picture in a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, FITS).", "damaged"
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"damaged or truncated: {text}.", "truncated" if "truncated" in text.lower() else "damaged"


def fit_square(image_HWC: np.ndarray, size: int) -> np.ndarray:
    """Scale the longest side to `size`, keep the aspect, pad with zeros around the centre: (size, size, C).

    Shrinking averages over areas (no aliasing of stars and noise). Growing is linear: cubic and Lanczos overshoot
    and would draw dark rings around stars.
    """
    height, width, channels = image_HWC.shape
    longest = max(height, width)
    if longest != size:
        new_height = max(1, round(height * size / longest))
        new_width = max(1, round(width * size / longest))
        method = cv2.INTER_AREA if longest > size else cv2.INTER_LINEAR

        def resize(part: np.ndarray) -> np.ndarray:
            resized = cv2.resize(part, (new_width, new_height), interpolation=method)
            return resized.reshape(new_height, new_width, part.shape[2])  # OpenCV drops a single channel

        image_HWC = in_fours(resize, image_HWC)
        height, width = new_height, new_width
    if height == width == size:
        return image_HWC
    square = np.zeros((size, size, channels), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image_HWC
    return square
