"""Pictures for people: any number of bands as RGB, small JPEGs that stand inside a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

PICTURE_SIDE = 144  # pixels, of a sample in a report
JPEG_QUALITY = 90


def as_rgb(images: np.ndarray) -> np.ndarray:
    """Return what to show of pictures of any number of bands.

    RGB is shown as it is; of more bands the first three; of fewer their mean.

    Parameters
    ----------
    images : (..., C) uint8

    Returns
    -------
    (..., 3) uint8
    """
    if images.shape[-1] >= 3:
        return images[..., :3]
    grey = np.rint(images.mean(axis=-1, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def picture_uri(image_HWC: np.ndarray, longest_side: int = PICTURE_SIDE) -> str:
    """Return the data URI of a small picture, its longest side at most `longest_side` pixels.

    Parameters
    ----------
    image_HWC : uint8
        Of any number of bands.
    """
    height, width = image_HWC.shape[:2]
    picture = as_rgb(image_HWC)
    scale = min(1.0, longest_side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    options = [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), options)
    return data_uri(encoded.tobytes(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """Return an image file of this kind (png, jpeg) as the address of an ``<img>``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
