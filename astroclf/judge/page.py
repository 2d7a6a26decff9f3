"""What every report shares: one HTML file with its pictures inside, so that it opens anywhere, offline."""

from __future__ import annotations

import base64
from typing import Any

import cv2
import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from astroclf.data.bands import as_rgb

THUMBNAIL = 144  # pixels


def render(template: str, **values: Any) -> str:
    """The page of a template of this folder; every value is escaped, a missing one is an error."""
    environment = Environment(loader=PackageLoader("astroclf.judge", "."), autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template).render(values)


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
