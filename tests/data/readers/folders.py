"""Small folders of images for the tests of readers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from astroclf.data.readers.folder import ClassFolder


def put(root: Path, *files: str) -> Path:
    """Write files: a picture where the name is one of a picture, else a line of text."""
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix.lower() in (".png", ".jpg", ".jpeg"):
            ramp = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
            Image.fromarray(ramp + np.uint8(len(file))).save(path, "PNG")
        else:
            path.write_text("a line\n")
    return root


def numbered(*folders: str, each: int = 2, suffix: str = ".png") -> list[str]:
    return [f"{folder}/{number}{suffix}" for folder in folders for number in range(each)]


def write_rows(path: Path, header: str, rows: Iterable[str]) -> None:
    path.write_text("\n".join([header, *rows, ""]), encoding="utf-8")


def reader(root: Path, classes: Any = "found", **options: Any) -> ClassFolder:
    return ClassFolder(root, classes, 8, **options)


def labels_of(reader: ClassFolder) -> Mapping[str, str]:
    """Return the name of each sample's class."""
    catalog = reader.catalog
    return {str(i): catalog.classes[label] for i, label in zip(catalog.ids, catalog.labels, strict=True)}


def reasons_of(reader: ClassFolder) -> dict[str, str]:
    return {item.name: item.reason for item in reader.left_out}
