"""The page beside a table of answers: of each class the surest and the least sure, as the network saw them."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.inference.inputs import Inputs
from astroclf.inference.preparation import Preparation
from astroclf.inference.samples import prepare
from astroclf.use.predict.rows import ERROR, PATH
from astroclf.use.predict.summary import CONFIDENCE, LABEL, NOVELTY, SET, UNLIKE, Summary
from astroclf.util.atomic import write_text
from astroclf.util.html import render
from astroclf.util.pictures import picture_uri

if TYPE_CHECKING:
    import pyarrow

SHOWN = 12  # of each class, surest and least sure
UNLIKE_SHOWN = 48
SHOWN_IN_ALL = 480  # pictures: with many classes, fewer of each
ERRORS_LISTED = 200


@dataclass(frozen=True)
class Shown:
    """One answer on the page.

    Attributes
    ----------
    row
        Its place in the table, from 0 on.
    prediction_set
        Names of classes as the table has them; None where the model gives no sets.
    novelty
        None where the model does not know what its training images are like.
    """

    row: int
    path: str
    label: str
    confidence: float
    prediction_set: str | None
    novelty: float | None


@dataclass(frozen=True)
class Sheet:
    """The answers of one class."""

    label: str
    count: int
    surest: list[Shown]
    least_sure: list[Shown]


def write_gallery(
    page: Path,
    batches: Iterable[pyarrow.RecordBatch],
    summary: Summary,
    inputs: Inputs,
    first: int,
    preparation: Preparation,
    about: Sequence[tuple[str, str]],
) -> None:
    """Write the page, one file that opens anywhere, offline.

    Parameters
    ----------
    batches
        All rows of the table.
    first
        The place of its first image among the inputs.
    about
        What the page says of the command, by name.
    """
    sheets, unlike, errors = _choose(batches, summary)
    rows = sorted({shown.row for sheet in sheets for shown in (*sheet.surest, *sheet.least_sure, *unlike)})
    text = render(
        Path(__file__).with_name("gallery.html.j2"),
        title="Answers, class by class",
        summary=summary,
        sentence=summary.sentence(),
        sheets=sheets,
        unlike=unlike,
        pictures=dict(_pictures(rows, inputs, first, preparation)),
        errors=errors,
        more_errors=summary.failed - len(errors),
        about=about,
    )
    write_text(page, text)


def _choose(
    batches: Iterable[pyarrow.RecordBatch], summary: Summary
) -> tuple[list[Sheet], list[Shown], list[tuple[str, str]]]:
    """Choose the rows that are shown, of each class in the order of the classes, and the errors that are listed.

    Those that are unlike the training images stand between them, the most novel first.
    """
    novel: list[tuple[float, int, Shown]] = []
    each = max(2, min(SHOWN, SHOWN_IN_ALL // (2 * max(1, len(summary.by_class)))))
    surest: dict[str, list[tuple[float, int, Shown]]] = {name: [] for name in summary.by_class}
    least: dict[str, list[tuple[float, int, Shown]]] = {name: [] for name in summary.by_class}
    errors: list[tuple[str, str]] = []
    row = 0
    for batch in batches:
        for values in batch.to_pylist():
            if values[LABEL] is None:
                errors += [(values[PATH], values[ERROR])] if len(errors) < ERRORS_LISTED else []
            else:
                shown = Shown(row, values[PATH], values[LABEL], values[CONFIDENCE], values.get(SET),
                              values.get(NOVELTY))  # fmt: skip
                if values.get(UNLIKE):
                    _keep(novel, (values[NOVELTY], -row, shown), UNLIKE_SHOWN)
                _keep(surest[shown.label], (shown.confidence, -row, shown), each)
                _keep(least[shown.label], (-shown.confidence, -row, shown), each)
            row += 1
    sheets = []
    for name, count in summary.by_class.items():
        best = [shown for *_, shown in sorted(surest[name], reverse=True)]
        twice = {shown.row for shown in best}  # of a class of few, none is shown two times
        worst = [shown for *_, shown in sorted(least[name], reverse=True) if shown.row not in twice]
        sheets.append(Sheet(name, count, best, worst))
    return sheets, [shown for *_, shown in sorted(novel, reverse=True)], errors


def _keep(heap: list[tuple[float, int, Shown]], entry: tuple[float, int, Shown], most: int) -> None:
    if len(heap) < most:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def _pictures(rows: Sequence[int], inputs: Inputs, first: int, preparation: Preparation) -> Iterator[tuple[int, str]]:
    """Yield the picture of each of these rows, which ascend; decoding few again is cheaper than keeping many."""
    if not rows:
        return
    wanted = set(rows)
    samples = islice(inputs.samples(), first, first + rows[-1] + 1)
    for row, sample in enumerate(samples):
        if row in wanted:
            block = prepare(preparation, [sample])
            if len(block.usable):  # the file may be gone since
                yield row, picture_uri(block.images_NHWC[0])
