"""What all answers together say: how many of each class, how sure, and what could not be read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from rich.table import Table

from astroclf.evaluation.predictions import SET_SEPARATOR
from astroclf.use.predict.rows import ERROR, PATH
from astroclf.util.terminal import Plain, console

if TYPE_CHECKING:
    import pyarrow

UNSURE = 0.5  # less confidence than this: the label is more likely wrong than right
ERRORS_KEPT = 3
LABEL, CONFIDENCE, UNCERTAINTY, SET = "label", "confidence", "uncertainty", "prediction_set"
NOVELTY, UNLIKE = "novelty", "unlike_training"


@dataclass
class Summary:
    """The counts of one table of answers.

    Attributes
    ----------
    images
        Rows in all.
    by_class
        Images of each class that was answered, in label order.
    confidence
        Mean for each class.
    unsure
        Answers whose confidence is less than one half.
    several
        Answers whose prediction set has not exactly one class; None where the model gives no sets.
    unlike
        Images that are unlike those that the model was trained on; None where it does not know them.
    failed
        Images without an answer.
    errors
        What is wrong with the first of them.
    """

    images: int = 0
    by_class: dict[str, int] = field(default_factory=dict)
    confidence: dict[str, float] = field(default_factory=dict)
    unsure: int = 0
    several: int | None = None
    unlike: int | None = None
    failed: int = 0
    errors: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, batches: Iterable[pyarrow.RecordBatch], classes: Sequence[str]) -> Summary:
        """Count all rows."""
        found = cls()
        counts: Counter[str] = Counter()
        sums: Counter[str] = Counter()
        for batch in batches:
            rows = batch.to_pydict()
            found.images += len(batch)
            failed = [error for error in rows[ERROR] if error]
            found.failed += len(failed)
            found.errors += failed[: ERRORS_KEPT - len(found.errors)]
            for label, confidence in zip(rows[LABEL], rows[CONFIDENCE], strict=True):
                if label is not None:
                    counts[label] += 1
                    sums[label] += confidence
                    found.unsure += confidence < UNSURE
            if SET in rows:
                several = sum(text is not None and text.count(SET_SEPARATOR) > 0 for text in rows[SET])
                found.several = (found.several or 0) + several
            if UNLIKE in rows:
                found.unlike = (found.unlike or 0) + sum(map(bool, rows[UNLIKE]))
        found.by_class = {name: counts[name] for name in classes if counts[name]}
        found.confidence = {name: sums[name] / count for name, count in found.by_class.items()}
        return found

    @property
    def status(self) -> int:
        """The status to end with: 0 all well, 1 some images have no answer, 2 none has."""
        return 0 if not self.failed else 2 if self.failed == self.images else 1

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON holds it."""
        return asdict(self)

    def show(self) -> None:
        """Show the classes in the terminal."""
        if not self.by_class:
            return
        table = Table(box=None, pad_edge=False)
        table.add_column("class")
        for title in ("images", "share", "mean confidence"):
            table.add_column(title, justify="right")
        answered = self.images - self.failed
        for name, count in self.by_class.items():
            table.add_row(Plain(name), f"{count:,}", f"{count / answered:.1%}", f"{self.confidence[name]:.2f}")
        console().print(table)

    def sentence(self) -> str:
        """Say how many images have an answer, and how sure those are."""
        words = [f"{self.images - self.failed:,} of {self.images:,} images answered"]
        words.append(f"{self.unsure:,} with a confidence below {UNSURE:g}")
        if self.several is not None:
            words.append(f"{self.several:,} with more than one class in their prediction set")
        if self.failed:
            words.append(f"{self.failed:,} could not be read")
        return f"{', '.join(words)}.{self._said_of_unlike()}"

    def _said_of_unlike(self) -> str:
        if not self.unlike:
            return "" if self.unlike is None else " None is unlike the images that the model was trained on."
        are = (
            "is unlike anything that the model was trained on: look at it"
            if self.unlike == 1
            else ("are unlike anything that the model was trained on: look at them")
        )
        return f" {self.unlike:,} of {self.images - self.failed:,} {are} first."


def show_rows(batches: Iterable[pyarrow.RecordBatch]) -> None:
    """Show a handful of answers in the terminal, one a line."""
    table = Table(box=None, pad_edge=False)
    for title in (PATH, LABEL):
        table.add_column(title, overflow="fold")
    rows = [row for batch in batches for row in batch.to_pylist()]
    knows = any(NOVELTY in row for row in rows)
    for title in (CONFIDENCE, UNCERTAINTY, *[NOVELTY] * knows):
        table.add_column(title, justify="right")
    for row in rows:
        if row[LABEL] is None:
            table.add_row(Plain(row[PATH]), Plain("–", "red"), "", "")
        else:
            figures = [Plain(f"{row[CONFIDENCE]:.2f}"), Plain(f"{row[UNCERTAINTY]:.2f}")]
            if knows:
                figures.append(Plain(f"{row[NOVELTY]:.2f}", "red" if row[UNLIKE] else ""))
            table.add_row(Plain(row[PATH]), Plain(row[LABEL]), *figures)
    screen = console()
    screen.print(table)
    screen.print()
