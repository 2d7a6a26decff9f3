"""One file, of any picture format that astronomers keep, to RGB uint8 of a fixed square size.

How pixel values become 0..255 (the same rule for every file, so that brightness compares between images):

* 8 bit: as they are. Palette and CMYK become RGB, transparency is laid over black (the sky), EXIF rotation is undone.
* 16-bit integers: divided by the dtype's range (65535 becomes 255): a photograph that a camera or editor wrote.
* floats within 0..1: times 255, the convention of image editors.
* other floats and 32-bit integers are measurements, not pictures: they get the stretch of FITS files (`fits.py`).
"""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps

from astroclf.data.fits import FitsSettings, is_fits, read_fits, stretch_planes
from astroclf.errors import ImageError

# Raise this whenever the same file would give other pixels than before: stores built by the old rules are then rebuilt.
PREPARATION = 1

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif")

# A 20 kB file can claim 65500 x 65500 pixels. Pillow's own limit: 0.5 GB of RGB.
MAX_PIXELS = 178_956_970

EXIF_ORIENTATION = 0x0112


def is_image(path: Path) -> bool:
    """Whether the name is one of a picture or FITS file."""
    return path.suffix.lower() in PICTURE_SUFFIXES or is_fits(path)


def read_image(path: Path, image_size: int, channels: int = 3, fits: FitsSettings | None = None) -> np.ndarray:
    """Decode and prepare one file: (image_size, image_size, channels) uint8.

    Raises
    ------
    ImageError
        The file holds no usable image.
    """
    return fit_square(to_channels(decode_file(path, fits), channels), image_size)


def decode_file(path: Path, fits: FitsSettings | None = None) -> np.ndarray:
    """Decode one file at its own size: (H, W, 3) uint8, RGB.

    Raises
    ------
    ImageError
        The file is missing, empty, damaged, too large, or holds no image.
    """
    fits = fits or FitsSettings()
    try:
        size = path.stat().st_size
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.") from error
    if size == 0:
        raise ImageError(f"{path}: the file is empty (0 bytes).")
    return read_fits(path, fits) if is_fits(path) else _read_picture(path, fits)


def _read_picture(path: Path, fits: FitsSettings) -> np.ndarray:
    # The decoders below meet arbitrary bytes and raise whatever their parser stumbled over (OSError, ValueError,
    # SyntaxError, struct.error, ...): all of it means that this file is damaged.
    try:
        encoded = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.") from error
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            _check_size(path, *picture.size)
            return _pillow_to_rgb(picture, path, fits)
    except ImageError:
        raise
    except Exception as error:
        pixels = _read_tiff(path, encoded) if encoded[:2] in (b"II", b"MM") else None
        if pixels is None:
            raise ImageError(f"{path}: {_what_is_wrong(encoded, error)}") from error
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
    """Colour TIFF of floats or wide integers, which Pillow does not know: (H, W, 3), RGB."""
    try:
        pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if pixels is None:
        return None
    _check_size(path, pixels.shape[1], pixels.shape[0])
    if pixels.ndim == 2:
        return pixels
    return np.ascontiguousarray(pixels[..., 2::-1]) if pixels.shape[2] >= 3 else pixels[..., 0]


def _measurements_to_rgb(pixels: np.ndarray, path: Path, fits: FitsSettings) -> np.ndarray:
    """(H, W) or (H, W, 3) of any dtype to RGB uint8, by the rule in this module's docstring."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.dtype == np.uint8:
        scaled = pixels
    elif pixels.dtype == np.uint16:
        scaled = np.round(pixels / 257.0).astype(np.uint8)
    elif pixels.dtype.kind == "f" and np.isfinite(pixels).all() and pixels.min() >= 0 and 0 < pixels.max() <= 1:
        scaled = np.round(pixels * 255.0).astype(np.uint8)
    else:
        planes = pixels[None] if pixels.ndim == 2 else np.moveaxis(pixels, -1, 0)
        return stretch_planes(planes.astype(np.float64), fits, path)
    return np.repeat(scaled[..., None], 3, axis=2) if scaled.ndim == 2 else scaled


def _check_size(path: Path, width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{path}: {width} x {height} pixels are more than the limit of {MAX_PIXELS:,}: a damaged header, or a "
            "mosaic to be cut into cut-outs first."
        )


def _what_is_wrong(encoded: bytes, error: Exception) -> str:
    start = encoded[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html")):
        return "an HTML page (an error page saved under the name of a picture?), not an image."
    if isinstance(error, Image.DecompressionBombError):
        return f"more pixels than the limit of {MAX_PIXELS:,}: a damaged header, or a mosaic to be cut up first."
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture in a known format (JPEG, PNG, WebP, TIFF, BMP, GIF, FITS)."
    return f"damaged or truncated: {' '.join(str(error).split()).rstrip('.') or type(error).__name__}."


def to_channels(image_HWC: np.ndarray, channels: int) -> np.ndarray:
    """RGB to the number of channels wanted: 3 as it is, 1 the luminance; (H, W, channels)."""
    if channels == 3:
        return image_HWC
    if channels == 1:
        return cv2.cvtColor(image_HWC, cv2.COLOR_RGB2GRAY)[..., None]
    raise ValueError(f"channels={channels}: an RGB image gives 3 channels or 1")


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
        image_HWC = cv2.resize(image_HWC, (new_width, new_height), interpolation=method)
        image_HWC = image_HWC.reshape(new_height, new_width, channels)  # OpenCV drops a single channel
        height, width = new_height, new_width
    if height == width == size:
        return image_HWC
    square = np.zeros((size, size, channels), np.uint8)
    top, left = (size - height) // 2, (size - width) // 2
    square[top : top + height, left : left + width] = image_HWC
    return square
