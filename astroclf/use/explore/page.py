"""``explore.html``: the map, the neighbours of each image, and what to label next; one file that opens offline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from markupsafe import Markup

from astroclf.use.explore.embedding import Embedded
from astroclf.util.atomic import write_text
from astroclf.util.html import render
from astroclf.util.pictures import data_uri
from astroclf.util.text import visible

TILES = 24  # thumbnails along a side of a sheet: 1,536 px at most, which every phone can decode
SHEET_QUALITY = 82
SIDES = ((2_000, 64), (6_000, 48))  # pixels of a thumbnail, up to so many images
SMALLEST_SIDE = 32  # 20,000 of them are about 20 MB


@dataclass(frozen=True, eq=False)
class Exploration:
    """What is known of N images that were explored.

    Attributes
    ----------
    places
        (N, 2) on the map, from 0 to 1.
    neighbours, cosines
        (N, K) rows of the nearest others, and how near they are.
    chosen, worth
        (M,) rows of what to label next, and how much each is worth it.
    accuracy_of_neighbours
        See `neighbours_accuracy`; NaN where no label is known.
    """

    found: Embedded
    places: np.ndarray
    neighbours: np.ndarray
    cosines: np.ndarray
    chosen: np.ndarray
    worth: np.ndarray
    accuracy_of_neighbours: float

    def sentences(self) -> list[str]:
        """Say what was found."""
        labels, answers = self.found.labels, self.found.answers
        known = labels != ""
        if not known.any():
            return [f"{len(labels):,} images, of none of which a label is known."]
        said = np.array(answers.classes)[answers.predicted]
        lines = [f"{len(labels):,} images, of {known.sum():,} of which a label is known."]
        foreign = sorted(set(labels[known].tolist()) - set(answers.classes))
        right = float((said == labels)[known].mean())
        lines.append(
            f"Of these, {self.accuracy_of_neighbours:.1%} have the label of most of their {self.neighbours.shape[1]} "
            f"nearest neighbours; the model names {right:.1%} as labelled (images of its own training flatter both)."
        )
        if foreign:
            lines.append(f"Labels that are no class of the model: {', '.join(map(repr, foreign[:10]))}.")
        return lines


def thumbnail_side(images: int, image_size: int) -> int:
    """Return how many pixels wide thumbnails are, so that the page stays below about 20 MB."""
    return min(image_size, next((side for most, side in SIDES if images <= most), SMALLEST_SIDE))


def write_page(path: Path, exploration: Exploration, about: Mapping[str, str], command: str) -> None:
    """Write the page, atomically."""
    found, answers = exploration.found, exploration.found.answers
    names = sorted({*found.labels.tolist()} - {"", *answers.classes})
    classes = [*answers.classes, *names]
    code = {name: number for number, name in enumerate(classes)} | {"": -1}
    data = {
        "ids": [visible(name) for name in answers.ids.tolist()],
        "classes": [visible(name) for name in classes],
        "x": np.round(exploration.places[:, 0], 4).tolist(),
        "y": np.round(exploration.places[:, 1], 4).tolist(),
        "label": [code[name] for name in found.labels.tolist()],
        "prediction": answers.predicted.tolist(),
        "confidence": _rounded(answers.confidence),
        "uncertainty": _rounded(answers.uncertainty),
        "neighbours": exploration.neighbours.tolist(),
        "cosines": _rounded(exploration.cosines),
        "chosen": exploration.chosen.tolist(),
        "tiles": TILES,
        "pixels": int(found.thumbnails.shape[1]),
    }
    text = render(
        Path(__file__).with_name("explore.html.j2"),
        title="Embeddings and neighbours",
        sentences=exploration.sentences(),
        has_labels=bool((found.labels != "").any()),
        chosen=len(exploration.chosen),
        all_labelled=bool((found.labels != "").all()),
        about=about,
        command=command,
        sheets=[Markup(sheet) for sheet in _sheets(found.thumbnails)],
        data=_for_script(data),
    )
    write_text(path, text)


def _rounded(values: np.ndarray) -> Any:
    """Return figures of three digits, for which float32 has too many."""
    return np.round(values.astype(np.float64), 3).tolist()


def _for_script(data: Mapping[str, Any]) -> Markup:
    """Return JSON that nothing in it can end the script of."""
    return Markup(json.dumps(data, separators=(",", ":"), ensure_ascii=True).replace("<", "\\u003c"))


def _sheets(thumbnails_NHWC: np.ndarray) -> list[str]:
    """Put thumbnails side by side into a few JPEG files, of which the page shows parts; data URIs."""
    side = thumbnails_NHWC.shape[1]
    sheets = []
    for start in range(0, len(thumbnails_NHWC), TILES**2):
        part = thumbnails_NHWC[start : start + TILES**2]
        sheet = np.zeros((TILES, TILES, side, side, 3), np.uint8)
        sheet.reshape(TILES**2, side, side, 3)[: len(part)] = part
        whole = sheet.transpose(0, 2, 1, 3, 4).reshape(TILES * side, TILES * side, 3)
        options = [cv2.IMWRITE_JPEG_QUALITY, SHEET_QUALITY]
        _, encoded = cv2.imencode(".jpg", cv2.cvtColor(whole, cv2.COLOR_RGB2BGR), options)
        sheets.append(data_uri(encoded.tobytes(), "jpeg"))
    return sheets
