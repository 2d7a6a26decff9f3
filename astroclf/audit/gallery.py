"""The gallery of a check: for each class and kind of file, what the network sees beside what the file shows."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from astroclf.audit.rendering import render_source
from astroclf.audit.summary import Audit, format_words
from astroclf.data.catalog import DatasetReader, HasSources, Source
from astroclf.util.pictures import picture_uri
from astroclf.util.progress import ProgressBar

PAIRS_OF_A_KIND = 4  # of a class and a kind of file
PAIRS = 200  # in all: two pictures of about 4 kB each
SIDE = 96  # pixels of a picture
BANDS_SHOWN = 3  # of a sample whose bands are files of their own


@dataclass(frozen=True)
class Shown:
    """The drawing of one file, or why there is none."""

    picture: str  # data URI, or empty
    words: str


@dataclass(frozen=True)
class Pair:
    """One sample: what the network sees, and what its files show."""

    id: str
    seen: str  # data URI
    files: list[Shown]  # none where the data set does not say where its files are


@dataclass(frozen=True)
class GalleryRow:
    """Some samples of one class and one kind of file."""

    label: str
    kind: str  # such as "PNG L 8-bit"; empty where it is not known
    count: int
    pairs: list[Pair]


def draw_gallery(
    audit: Audit,
    images: Sequence[np.ndarray] | np.ndarray,
    reader: DatasetReader | None = None,
    hdu: int | str | None = None,
) -> list[GalleryRow]:
    """Draw some samples of each class and kind of file, spread evenly over its samples.

    Parameters
    ----------
    images
        Those of the audit's catalog, as the network will get them.
    reader
        Of the data set: tells where the files are.
    hdu
        Of FITS files that holds the image; None: the first.
    """
    assert audit.catalog is not None
    rows_of: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row, label in enumerate(audit.catalog.labels.tolist()):
        fact = audit.facts[row] if audit.facts else None
        rows_of[label, format_words(fact) if fact else ""].append(row)
    each = max(1, min(PAIRS_OF_A_KIND, PAIRS // max(1, len(rows_of))))
    listed = sorted(rows_of.items(), key=lambda item: (item[0][0], -len(item[1])))[:PAIRS]
    reader_row = {name: row for row, name in enumerate(reader.catalog.ids.tolist())} if reader else {}
    gallery = []
    with ProgressBar("Drawing examples", sum(min(each, len(rows)) for _, rows in listed)) as bar:
        for (label, kind), rows in listed:
            chosen = [rows[place] for place in np.unique(np.linspace(0, len(rows) - 1, each).astype(int))]
            pairs = []
            for row in chosen:
                name = str(audit.catalog.ids[row])
                source = reader.source(reader_row[name]) if isinstance(reader, HasSources) else None
                # An image in the middle of a compressed array takes half a second: one of a class is enough.
                files: list[Shown] = _drawn(source, hdu) if source and (source.row is None or not pairs) else []
                pairs.append(Pair(name, picture_uri(np.asarray(images[row]), SIDE), files))
                bar.advance(1)
            gallery.append(GalleryRow(audit.catalog.classes[label], kind, len(rows), pairs))
    return gallery


def _drawn(source: Source, hdu: int | str | None) -> list[Shown]:
    """Draw the files of one sample; what cannot be drawn is said, for the decoder could read it."""
    try:
        drawings = render_source(source._replace(files=source.files[:BANDS_SHOWN]), hdu)
    except Exception as error:  # arbitrary bytes: any parser error may come from them
        return [Shown("", f"not drawn: {' '.join(str(error).split()) or type(error).__name__}")]
    return [Shown(picture_uri(drawing.image_HWC, SIDE), drawing.words) for drawing in drawings]
