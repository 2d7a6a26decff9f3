"""Pictures in the formats that Pillow reads: JPEG, PNG, WebP, AVIF, JPEG 2000, netpbm, BMP, GIF."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, ImageOps, features

from astroclf.data.catalog import Note
from astroclf.data.decode.arrays import NPY_MAGIC, NPY_SUFFIX, read_array
from astroclf.data.decode.axes import upright
from astroclf.data.decode.checksums import check_png, is_wide_png, pixel_chunks
from astroclf.data.decode.limits import MAX_PIXELS, claim_pixels
from astroclf.data.decode.tiff import TIFF_MAGIC, read_tiff
from astroclf.data.decode.values import EIGHT_BIT, Values, numbers
from astroclf.errors import ImageError
from astroclf.settings.reading import ReadSettings

# Formats of pictures by Pillow's names, of which those are read that the installed Pillow can read.
PILLOW_FORMATS = ("JPEG", "MPO", "JPEG2000", "PNG", "WEBP", "AVIF", "PPM", "BMP", "GIF")
OPTIONAL = {"JPEG2000": "jpg_2000", "WEBP": "webp", "AVIF": "avif"}  # what a Pillow can be built without
MOVING_PICTURES = {".apng", ".avifs"}  # suffixes
FRAMES_OF_ONE = ("MPO",)  # formats whose further frames are previews and depth of the first

EXIF_ORIENTATION = 0x0112
FORMAT_OF_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG": "PNG",
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"RIFF": "WebP",
}


@cache
def picture_suffixes() -> frozenset[str]:
    """List the suffixes of the picture formats that the installed Pillow reads."""
    Image.init()
    formats = {name for name in PILLOW_FORMATS if name not in OPTIONAL or features.check(OPTIONAL[name])}
    suffixes = {suffix for suffix, name in Image.registered_extensions().items() if name in formats}
    return frozenset(suffixes - MOVING_PICTURES)


def read_picture(path: Path, settings: ReadSettings, channels: int = 3) -> Values:
    """Read one picture file, TIFF files too; the content tells the format, whatever the name.

    Palette and CMYK become RGB, transparency is laid over black (the sky), EXIF rotation is undone.

    Raises
    ------
    ImageError
        The file is damaged, too large, no picture, or has another number of bands than `channels` asks for.
    """
    try:
        with path.open("rb") as file:
            start = file.read(len(NPY_MAGIC))
            if start.startswith(TIFF_MAGIC):
                return read_tiff(path, settings, channels)
            if start.startswith(NPY_MAGIC) or path.suffix.lower() == NPY_SUFFIX:
                return read_array(path, settings, channels)
            encoded = start + file.read()
    except OSError as error:
        raise ImageError(f"{path}: cannot be read: {error.strerror or error}.", "missing") from error
    if channels not in (1, 3):
        raise ImageError(
            f"{path}: a picture has 3 bands (RGB) or 1 (grey), but dataset.channels={channels}: only FITS, TIFF and "
            "npy files have other numbers of bands.",
            "wrong bands",
        )
    # Pillow meets arbitrary bytes and raises whatever its parser stumbled over (OSError, ValueError, SyntaxError,
    # struct.error, ...): all of it means that this file is damaged.
    try:
        check_png(encoded, path)
        with Image.open(io.BytesIO(encoded)) as picture:
            claim_pixels(*picture.size, path)
            values = _wide_png(picture, encoded) if is_wide_png(encoded) else from_pillow(picture)
            frames = 1 if picture.format in FRAMES_OF_ONE else getattr(picture, "n_frames", 1)
    except ImageError:
        raise
    except Exception as error:
        text, kind = _what_is_wrong(encoded, error)
        raise ImageError(f"{path}: {text}", kind) from error
    if frames > 1:
        return values.noted(Note("several frames", f"{path}: the first of its {frames} frames is taken."))
    return values


def from_pillow(picture: Image.Image) -> Values:
    """Read the numbers of a Pillow image: 8-bit RGB, or grey of more bits as they are."""
    picture.load()  # the whole file: a truncated one raises here, where OpenCV would return a half-grey image
    picture = _turned_by_exif(picture)
    mode = picture.mode
    if mode.startswith(("I", "F")):
        # I: 16-bit netpbm, which Pillow scales to the full range of 16 bits and keeps in 32.
        return numbers(np.asarray(picture, np.uint16) if mode == "I" else np.asarray(picture))
    if mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    return Values(np.array(picture if picture.mode == "RGB" else picture.convert("RGB")), EIGHT_BIT)


def _turned_by_exif(picture: Image.Image) -> Image.Image:
    return ImageOps.exif_transpose(picture) if _orientation(picture) != 1 else picture


def _orientation(picture: Image.Image) -> int:
    try:
        return int(picture.getexif().get(EXIF_ORIENTATION, 1))
    except Exception:  # a damaged EXIF block says nothing against the pixels, and any parser error may come from it
        return 1


def _wide_png(picture: Image.Image, encoded: bytes) -> Values:
    """Read a PNG with 16 bits a color, of which Pillow keeps 8: OpenCV decodes what Pillow has found to be whole."""
    picture.load()
    # Without the chunks about color profiles and gamma, of which libpng writes remarks to stderr.
    pixels = cv2.imdecode(np.frombuffer(pixel_chunks(encoded), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError("its 16-bit colors cannot be decoded")
    image_HWC = pixels[..., 2::-1]
    if pixels.shape[2] == 4:
        image_HWC = np.rint(image_HWC * (pixels[..., 3:] / 65535)).astype(np.uint16)
    return numbers(np.ascontiguousarray(upright(image_HWC, _orientation(picture))))


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
        return (
            "not a picture in a known format (JPEG, PNG, WebP, TIFF, AVIF, JPEG 2000, netpbm, BMP, GIF, FITS, npy).",
            "damaged",
        )
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    return f"damaged or truncated: {text}.", "truncated" if "truncated" in text.lower() else "damaged"
