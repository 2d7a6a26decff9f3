"""Small data sets for the tests of the audit: clean, with known faults, or of nothing but a catalog."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.catalog import Catalog
from astroclf.data.readers.folder import ClassFolder

CLASSES = ("galaxy", "nebula", "star")
SIDE = 64


def picture(seed: int) -> np.ndarray:
    """A picture unlike any of another seed: (SIDE, SIDE, 3) uint8."""
    noise = np.random.default_rng(seed).normal(size=(SIDE, SIDE, 3)).astype(np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(110 + 55 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path


def write_clean(folder: Path, each: int = 24) -> Path:
    """Class folders of PNG files without a fault."""
    for label, name in enumerate(CLASSES):
        for number in range(each):
            save(folder / name / f"{number:02d}.png", picture(1000 * label + number))
    return folder


def plant_faults(folder: Path) -> dict[str, set[frozenset[str]]]:
    """Add one fault of each kind to `write_clean`'s folder; returns which samples belong together under which kind."""
    truncated = save(folder / "galaxy" / "truncated.jpg", picture(9001))
    truncated.write_bytes(truncated.read_bytes()[:-600])
    (folder / "star" / "empty.png").write_bytes(b"")
    (folder / "star" / "page.jpg").write_text("<!DOCTYPE html><html><body>404 Not Found</body></html>")
    save(folder / "nebula" / "constant.png", np.full((SIDE, SIDE // 2, 3), 90, np.uint8))
    faint = np.full((SIDE, SIDE, 3), 20, np.uint8) + np.random.default_rng(5).integers(0, 4, (SIDE, SIDE, 1), np.uint8)
    save(folder / "nebula" / "blank.png", faint)
    save(folder / "star" / "copy.png", picture(0))  # of galaxy/00.png
    save(folder / "nebula" / "turned.png", np.rot90(picture(1003))[:, ::-1])  # of nebula/03.png
    return {
        "truncated": {frozenset({"galaxy/truncated.jpg"})},
        "empty": {frozenset({"star/empty.png"})},
        "no image": {frozenset({"star/page.jpg"})},
        "constant": {frozenset({"nebula/constant.png"})},
        "near-blank": {frozenset({"nebula/blank.png"})},
        "exact duplicates": {frozenset({"galaxy/00.png", "star/copy.png"})},
        "near duplicates": {frozenset({"nebula/03.png", "nebula/turned.png"})},
    }


def opened(folder: Path, cache_dir: Path) -> tuple[ClassFolder, ImageCache]:
    reader = ClassFolder(folder, "found", SIDE)
    return reader, open_image_cache(reader, cache_dir, on_error="skip", num_workers=1, progress=False)


def catalog(labels: list[int], classes: tuple[str, ...] = ("galaxy", "star"), **columns) -> Catalog:
    return Catalog(
        ids=np.array([f"{row}.png" for row in range(len(labels))]), labels=np.array(labels), classes=classes, **columns
    )


def bare_cache(of: Catalog, thumbnails: np.ndarray | None = None) -> ImageCache:
    """An image cache of nothing but its catalog, and thumbnails as its images where given."""
    thumbnails = np.zeros((len(of), 64, 64), np.uint8) if thumbnails is None else thumbnails
    none = np.array([""] * len(of))
    return ImageCache(thumbnails[..., None], thumbnails, of, none, none, "", Path(), ())
