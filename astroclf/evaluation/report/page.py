"""The pages that runs, sweeps and evaluations leave: sections of a few kinds, in one file that opens anywhere, offline.

Who makes a report decides what it has: a `Report` is a title, a sentence, the headline figures, and any of the kinds of
section below in any order. What is given as text is escaped when the page is written.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from astroclf.util.atomic import write_text
from astroclf.util.html import render
from astroclf.util.pictures import data_uri, picture_uri

CSS_PIXELS_PER_INCH = 96
SAMPLE_SIDE = 144  # pixels of a sample in a gallery
THUMBNAIL_SIDE = 80  # of one behind a cell of the confusion matrix


# ---- what sections are made of -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Headline:
    """One of the figures at the top.

    Attributes
    ----------
    beside
        What it must be seen beside, such as its interval or what guessing gets.
    """

    value: str
    label: str
    beside: Sequence[str] = ()


@dataclass(frozen=True)
class Chart:
    """A figure drawn by `astroclf.util.figures`: dark lines on white, which a dark page turns round."""

    source: str  # data URI
    alt: str
    width: int  # CSS pixels at which its letters have the size of the page's
    height: int

    @classmethod
    def of(cls, path: Path, alt: str, dpi: int) -> Chart:
        """Take in a PNG file that was drawn at `dpi`."""
        content = path.read_bytes()
        width, height = struct.unpack(">II", content[16:24])  # PNG's first chunk, IHDR
        scale = CSS_PIXELS_PER_INCH / dpi
        return cls(data_uri(content, "png"), alt, round(width * scale), round(height * scale))


@dataclass(frozen=True)
class Sample:
    """One image, as a gallery shows it.

    Attributes
    ----------
    picture
        Data URI; empty where there is none to show.
    heat_map
        Data URI of where the model looked; empty where that is not known.
    said, truth
        What the model said, and what the label says, each with its probability; either may be empty.
    wrong
        Whether the two differ.
    note
        Anything else, such as the uncertainty.
    sky, link
        The position in words, and a page that shows it; empty where it is not known.
    """

    id: str
    picture: str = ""
    heat_map: str = ""
    said: str = ""
    truth: str = ""
    wrong: bool = False
    note: str = ""
    sky: str = ""
    link: str = ""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    sort
        What the column is sorted by where that is not the text; None, as the text of an unknown figure, goes last.
    share
        Length of the bar behind it, from 0 to 1.
    note
        In small print after the text.
    link
        Where it leads.
    """

    text: str
    sort: float | str | None = None
    share: float | None = None
    note: str = ""
    link: str = ""


@dataclass(frozen=True)
class Column:
    """One column of a table; numbers stand on the right."""

    name: str
    numeric: bool = True


# ---- sections ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report under a heading of its own, with a few words about it."""

    kind: ClassVar[str]  # the macro of report.html.j2 that writes it
    title: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Charts(Section):
    """Figures side by side, as far as the page is wide."""

    kind = "charts"
    charts: Sequence[Chart]


@dataclass(frozen=True, kw_only=True)
class Photo(Section):
    """One wide picture of images, which a dark page leaves as it is."""

    kind = "photo"
    source: str
    alt: str


@dataclass(frozen=True, kw_only=True)
class Table(Section):
    """A table that sorts by the column that is clicked, or chosen by keyboard."""

    kind = "table"
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, kw_only=True)
class Gallery(Section):
    """Images with what was said of them."""

    kind = "gallery"
    samples: Sequence[Sample]


@dataclass(frozen=True)
class MatrixCell:
    """One cell of a confusion matrix: how many, and some of them."""

    count: int
    share: float  # of the true class
    words: str  # such as ``12 images of Merging taken for Disturbed``
    samples: Sequence[Sample] = ()

    @property
    def more(self) -> int:
        """How many there are beside those that are shown."""
        return self.count - len(self.samples)


@dataclass(frozen=True, kw_only=True)
class Matrix(Section):
    """A confusion matrix whose cells open their images: rows are true classes, columns predicted ones.

    Attributes
    ----------
    names, labels
        The classes, and what stands for each where there is little room.
    images
        Of each true class.
    """

    kind = "matrix"
    names: Sequence[str]
    labels: Sequence[str]
    images: Sequence[int]
    rows: Sequence[Sequence[MatrixCell]]


@dataclass(frozen=True, kw_only=True)
class Facts(Section):
    """Names with their values; one that has an address is a link to it."""

    kind = "facts"
    facts: Mapping[str, str]
    links: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Code(Section):
    """A command as it is typed, or another text that keeps its lines."""

    kind = "code"
    code: str


@dataclass(frozen=True, kw_only=True)
class Folded(Section):
    """Long texts that are opened one by one."""

    kind = "folded"
    parts: Mapping[str, str]


@dataclass(frozen=True)
class Report:
    """What one page says.

    Attributes
    ----------
    lead
        The result in a sentence or two.
    """

    title: str
    lead: str
    headlines: Sequence[Headline] = ()
    sections: Sequence[Section] = ()


def write_report(path: str | Path, report: Report) -> Path:
    """Write a report as one HTML file, atomically; nothing in it is fetched from outside."""
    page = render(Path(__file__).with_name("report.html.j2"), title=report.title, report=report)
    write_text(Path(path), page)
    return Path(path)


def sample_picture(image_HWC: np.ndarray, side: int = SAMPLE_SIDE) -> str:
    """Return the data URI of an image of any number of bands, its longest side at most `side` pixels."""
    return picture_uri(np.asarray(image_HWC), side)
