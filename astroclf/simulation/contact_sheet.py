"""One picture that shows examples of every class."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from astroclf.data.catalog import DatasetReader
from astroclf.util.atomic import atomic_path

_INK = 235
_LABEL_WIDTH = 150  # pixels


def contact_sheet(reader: DatasetReader, path: str | Path, *, per_class: int = 10, cell: int = 64) -> Path:
    """Draw the first examples of each class of a data set: one row a class, its name in front.

    Parameters
    ----------
    reader
        The data set, as its images reach the network.
    path
        The PNG to write.
    per_class
        Examples in a row; a class with fewer leaves the rest black.
    cell
        Side of one example in the sheet, pixels.
    """
    catalog = reader.catalog
    shown = {
        int(row): (label, column)
        for label in range(len(catalog.classes))
        for column, row in enumerate(np.flatnonzero(catalog.labels == label)[:per_class])
    }
    sheet = np.zeros((cell * len(catalog.classes), _LABEL_WIDTH + cell * per_class, 3), np.uint8)
    for label, name in enumerate(catalog.classes):
        _write_name(sheet[label * cell : (label + 1) * cell, :_LABEL_WIDTH], name.replace("_", " "))
    for block in reader.blocks():
        wanted = [row for row in block if row in shown]
        if not wanted:
            continue
        # Only the span that is needed: rows of one class lie together, in files sorted by class thousands of them.
        span = range(wanted[0], wanted[-1] + 1)
        images = reader.read(span).images_BHWC
        for row in wanted:
            label, column = shown[row]
            top, left = label * cell, _LABEL_WIDTH + column * cell
            sheet[top : top + cell, left : left + cell] = _fit(images[row - span.start], cell)
    with atomic_path(path) as temporary:
        Image.fromarray(sheet).save(temporary, format="PNG", optimize=True)
    return Path(path)


def _fit(image: np.ndarray, cell: int) -> np.ndarray:
    shrinks = image.shape[0] > cell
    resized = cv2.resize(image, (cell, cell), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    return resized if resized.ndim == 3 else resized[..., None]


def _write_name(box: np.ndarray, name: str) -> None:
    """Write a class name in one or two lines, right of the middle of its box."""
    words = name.split()
    half = (len(words) + 1) // 2
    lines = [name] if len(name) <= 14 else [" ".join(words[:half]), " ".join(words[half:])]
    scale = 0.4
    line_height = 17
    canvas = np.ascontiguousarray(box)
    for number, line in enumerate(lines):
        (width, height), _ = cv2.getTextSize(line, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
        top = (box.shape[0] - line_height * (len(lines) - 1) + height) // 2 + number * line_height
        left = max(2, box.shape[1] - width - 8)
        cv2.putText(canvas, line, (left, top), cv2.FONT_HERSHEY_DUPLEX, scale, (_INK,) * 3, 1, cv2.LINE_AA)
    box[:] = canvas
