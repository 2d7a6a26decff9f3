"""``report.html`` of a check: every finding with its pictures, the classes, and what the files are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from astroclf.audit.findings import SEVERITIES, Case, Finding
from astroclf.audit.gallery import GalleryRow
from astroclf.audit.summary import EFFECTIVE_NUMBER_BETA, STATUS_WORDS, Audit, ClassRow, audit_sentence
from astroclf.evaluation.shift import COLUMNS
from astroclf.util.atomic import write_text
from astroclf.util.html import render
from astroclf.util.pictures import data_uri, picture_uri

PICTURED_CASES = 50  # of a finding; the others are in check.json
LISTED_CASES = 200  # of a finding without pictures
PICTURES_OF_A_CASE = 6
SHIFT_FIGURE = "shift.png"  # beside the report, and in it


@dataclass(frozen=True)
class Sample:
    """One sample of a case, as the report shows it."""

    id: str
    label: str
    picture: str  # data URI, or empty


@dataclass(frozen=True)
class ShownCase:
    """One case, as the report shows it."""

    text: str
    samples: list[Sample]
    more: int  # samples that are not shown
    conflict: bool


@dataclass(frozen=True)
class Section:
    """One finding with those of its cases that are shown."""

    finding: Finding
    cases: list[ShownCase]
    more: int  # cases that are not shown
    pictured: bool

    @property
    def anchor(self) -> str:
        """The name by which the table of findings links to the section."""
        return self.finding.kind.replace(" ", "-")


def write_audit_report(
    folder: str | Path,
    audit: Audit,
    images: Sequence[np.ndarray] | np.ndarray | None,
    gallery: Sequence[GalleryRow] = (),
) -> Path:
    """Write ``report.html`` into a folder: one file that opens anywhere, offline.

    Parameters
    ----------
    images
        Those of the audit's table, (N, H, W, C) uint8, or anything that gives image i for index i.
    gallery
        Of `draw_gallery`.

    The figure of `audit.shift`, where there is one, lies in the folder.
    """
    sections = [_section(found, images) for found in audit.findings]
    figure = Path(folder) / SHIFT_FIGURE
    page = render(
        Path(__file__).with_name("report.html.j2"),
        title=f"{audit.name}: what check found",
        audit=audit,
        sentence=audit_sentence(audit),
        status=STATUS_WORDS[audit.status],
        severities=[(severity, audit.count(severity)) for severity in SEVERITIES],
        sections=sections,
        largest=max((row.images for row in audit.classes), default=1) or 1,
        beta=EFFECTIVE_NUMBER_BETA,
        gallery=gallery,
        has_drawings=any(pair.files for row in gallery for pair in row.pairs),
        has_files=any(row.formats for row in audit.classes),
        size_words=_size_words,
        shift_columns=COLUMNS,
        shift_figure=data_uri(figure.read_bytes(), "png") if audit.shift is not None else "",
    )
    path = Path(folder) / "report.html"
    write_text(path, page)
    return path


def _section(found: Finding, images: Sequence[np.ndarray] | np.ndarray | None) -> Section:
    pictured = images is not None and any(case.rows for case in found.cases)
    limit = PICTURED_CASES if pictured else LISTED_CASES
    shown = [_shown(case, images if pictured else None) for case in found.cases[:limit]]
    return Section(found, shown, len(found.cases) - len(shown), pictured)


def _shown(case: Case, images: Sequence[np.ndarray] | np.ndarray | None) -> ShownCase:
    samples = []
    for index, name in enumerate(case.ids[:PICTURES_OF_A_CASE]):
        picture = picture_uri(np.asarray(images[case.rows[index]])) if images is not None and case.rows else ""
        samples.append(Sample(name, case.labels[index] if case.labels else "", picture))
    return ShownCase(case.text, samples, len(case.ids) - len(samples), case.conflict)


def _size_words(row: ClassRow) -> str:
    """Describe the sizes of a class's files, such as ``64 px`` or ``310 – 500 – 1,280 px``."""
    if row.sizes is None:
        return "–"
    low, middle, high = row.sizes
    return f"{low:,} px" if low == high else f"{low:,} – {middle:,} – {high:,} px"
