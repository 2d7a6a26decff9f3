"""Pictures: JPEG, PNG, WebP, TIFF, BMP, GIF files, as the numbers that they hold."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from astroclf.data.decode.checksums import check_png
from astroclf.data.decode.values import EIGHT_BIT, Values
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings

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


def read_picture(path: Path, settings: ReadSettings, channels: int = 3) -> Values:
    """Read one picture file.

    Palette and CMYK become RGB, transparency is laid over black (the sky), EXIF rotation is undone.

    Raises
    ------
    ImageError
        The file is damaged, too large, no picture, or has another number of bands than `channels` asks for.
    """
    if channels not in (1, 3):
        raise ImageError(
            f"{path}: a picture has 3 bands (RGB) or 1 (grey), but dataset.channels={channels}: only FITS files have "
            "other numbers of bands.",
            "wrong bands",
        )
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
            return _from_pillow(picture)
    except ImageError:
        raise
    except Exception as error:
        # Only what Pillow does not know at all: what it finds damaged, OpenCV would read with other pixels.
        is_other_tiff = isinstance(error, Image.UnidentifiedImageError) and encoded[:2] in (b"II", b"MM")
        pixels = _read_tiff(path, encoded) if is_other_tiff else None
        if pixels is None:
            text, kind = _what_is_wrong(encoded, error)
            raise ImageError(f"{path}: {text}", kind) from error
        return numbers(pixels)


def _from_pillow(picture: Image.Image) -> Values:
    picture.load()  # the whole file: a truncated one raises here, where OpenCV would return a half-grey image
    picture = _turned_by_exif(picture)
    mode = picture.mode
    if mode.startswith(("I", "F")):
        return numbers(np.asarray(picture))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    return Values(np.array(picture if picture.mode == "RGB" else picture.convert("RGB")), EIGHT_BIT)


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


def numbers(pixels: np.ndarray) -> Values:
    """Return (H, W) or (H, W, P) numbers of any type and byte order, with their kind."""
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    kind = EIGHT_BIT if pixels.dtype == np.uint8 else "float" if pixels.dtype.kind == "f" else pixels.dtype.name
    return Values(pixels[..., None] if pixels.ndim == 2 else pixels, kind)


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
