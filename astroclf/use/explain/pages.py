"""What is shown of where a model looked: a page, a table, and a contact sheet of each class."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroclf.evaluation.report.page import Code, Facts, Gallery, Headline, Report, Sample, Section, sample_picture
from astroclf.inference.attribution import GateEffect, overlay
from astroclf.util.atomic import write_text
from astroclf.util.figures import BLUE, INK, figure, shorten, show_image
from astroclf.util.text import number

if TYPE_CHECKING:
    from astroclf.use.explain.job import Explained

SHEET_PAIRS = 24  # of a contact sheet
SHEET_COLUMNS = 4  # pairs beside each other
READS = (
    "Red is where something speaks for the class, by Grad-CAM. Agreement is the rank correlation with what hiding each "
    "part of the image costs the class: near 1 the map can be believed, near 0 it cannot."
)


def explanation_report(explained: Explained, command: str) -> Report:
    """Return the page: how far the maps can be believed, the gate, then the images of each class."""
    sections: list[Section] = [_gallery(explained, label) for label in _asked(explained)]
    if explained.gate is not None:
        sections.append(_gate_section(explained.gate))
    if explained.errors:
        facts = {name: text for name, text in list(explained.errors.items())[:100]}
        sections.append(Facts(title="Not read", text=f"{len(explained.errors)} images.", facts=facts))
    sections.append(Code(title="The command", code=command))
    return Report(f"Where {explained.model} looked", _lead(explained), _headlines(explained), sections)


def write_table(path: Path, explained: Explained) -> None:
    """Write a row for each image and class: what was said, and how far the map can be believed."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "asked", "probability", "label", "confidence", "agreement", "error"])
    said, agreement = explained.said, explained.found.agreement_N
    for row, label in enumerate(explained.asked_N.tolist()):
        sure = [said.probabilities[row, label], said.confidence[row], math.nan if agreement is None else agreement[row]]
        probability, confidence, agrees = ("" if math.isnan(value) else f"{value:.7g}" for value in sure)
        name = said.classes[said.predicted[row]]
        writer.writerow([said.ids[row], said.classes[label], probability, name, confidence, agrees, ""])
    for name, text in explained.errors.items():
        writer.writerow([name, "", "", "", "", "", text])
    write_text(path, file.getvalue())


def draw_sheets(folder: Path, explained: Explained) -> list[Path]:
    """Draw a contact sheet for each class that was asked about, the most probable images first."""
    return [_draw_sheet(folder, explained, label) for label in _asked(explained)]


def _asked(explained: Explained) -> list[int]:
    return sorted(set(explained.asked_N.tolist()))


def _rows(explained: Explained, label: int) -> list[int]:
    """Return the rows of a class, the most probable first."""
    rows = np.flatnonzero(explained.asked_N == label)
    return rows[np.argsort(-explained.said.probabilities[rows, label], kind="stable")].tolist()


def _lead(explained: Explained) -> str:
    images = len(set(explained.said.ids.tolist()))
    words = f"{images} image{'s' * (images > 1)}, each asked about {_what_was_asked(explained)}. "
    return words + READS


def _what_was_asked(explained: Explained) -> str:
    asked = [explained.said.classes[label] for label in _asked(explained)]
    if (explained.asked_N == explained.said.predicted).all():
        return "the class that the model gives it"
    return ", ".join(asked) if len(asked) <= 5 else f"{len(asked)} classes"


def _headlines(explained: Explained) -> Sequence[Headline]:
    agreement = explained.found.agreement_N
    if agreement is None or np.isnan(agreement).all():
        return ()
    low, middle, high = np.nanpercentile(agreement, [25, 50, 75])
    beside = [f"half of them {number(low, 2)} – {number(high, 2)}"]
    return (Headline(number(middle, 2), "agreement with occlusion, by the median", beside),)


def _gallery(explained: Explained, label: int) -> Gallery:
    name, rows = explained.said.classes[label], _rows(explained, label)
    return Gallery(title=name, text=f"{len(rows)} images.", samples=[_sample(explained, row, label) for row in rows])


def _sample(explained: Explained, row: int, label: int) -> Sample:
    said, found = explained.said, explained.found
    predicted = int(said.predicted[row])
    agrees = "" if found.agreement_N is None else f"agreement {number(found.agreement_N[row], 2)}"
    about = "" if predicted == label else f"{said.classes[label]} {said.probabilities[row, label]:.0%}"
    return Sample(
        id=str(said.ids[row]),
        picture=sample_picture(found.seen_NHWC[row]),
        heat_map=sample_picture(overlay(found.seen_NHWC[row], found.maps_NHW[row])),
        said=f"{said.classes[predicted]} {said.confidence[row]:.0%}",
        note=", ".join(filter(None, (about, agrees))),
    )


def _gate_section(gate: GateEffect) -> Facts:
    return Facts(
        title="The gate over the features",
        text="The class scores read each feature through a gate (head.attention=true), a number between 0 and 1.",
        facts={
            "mean of the gates": number(gate.mean),
            "nearly shut (below 0.1)": f"{gate.shut:.1%}",
            "how much a gate varies among images (σ)": number(gate.varying),
            "labels that change when all are open": f"{gate.changed_labels:.1%}",
            "mean change in the label's probability": number(gate.changed_probability),
        },
    )


def _draw_sheet(folder: Path, explained: Explained, label: int) -> Path:
    said, found = explained.said, explained.found
    rows = _rows(explained, label)[:SHEET_PAIRS]
    columns = min(SHEET_COLUMNS, len(rows))
    lines = -(-len(rows) // columns)
    words = re.sub(r"[^\w.-]+", "_", said.classes[label]).strip("._") or "class"
    path = folder / f"{label:02d}_{words[:60]}.png"
    size = (2.5 * columns, 1.42 * lines)
    with figure(path, *size, rows=lines, columns=2 * columns, squeeze=False) as grid:
        for axes in grid.ravel():
            axes.set_axis_off()
        for place, row in enumerate(rows):
            line, column = divmod(place, columns)
            right = int(said.predicted[row]) == label
            title = f"{shorten(said.classes[label], 14)} {said.probabilities[row, label]:.0%}"
            show_image(grid[line, 2 * column], found.seen_NHWC[row], shorten(Path(str(said.ids[row])).name, 18), BLUE)
            picture = overlay(found.seen_NHWC[row], found.maps_NHW[row])
            show_image(grid[line, 2 * column + 1], picture, title, INK if right else BLUE)
    return path
