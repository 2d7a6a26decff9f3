"""Pictures for people: any number of bands as RGB, small JPEGs that stand inside a page."""

from __future__ import annotations

import base64

import cv2
import numpy as np

THUMBNAIL = 144  # pixels


def as_rgb(images: np.ndarray) -> np.ndarray:
    """What to show of (..., C) uint8, as (..., 3): RGB as it is; of more bands the first three; of fewer their mean."""
    if images.shape[-1] >= 3:
        return images[..., :3]
    grey = np.rint(images.mean(axis=-1, keepdims=True)).astype(np.uint8)
    return np.repeat(grey, 3, axis=-1)


def thumbnail(image_HWC: np.ndarray, side: int = THUMBNAIL) -> str:
    """A data URI of the picture, uint8 of any number of bands, its longest side at most `side` pixels."""
    height, width = image_HWC.shape[:2]
    picture = as_rgb(image_HWC)
    scale = min(1.0, side / max(height, width))
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    _, encoded = cv2.imencode(".jpg", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 90])
    return data_uri(encoded.tobytes(), "jpeg")


def data_uri(content: bytes, kind: str) -> str:
    """An image file of this kind (png, jpeg) as the address of an ``<img>``."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
