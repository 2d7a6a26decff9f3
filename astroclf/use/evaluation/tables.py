"""What an evaluation prints: one table of figures with their intervals, the classes, and what else was found."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table

from astroclf.evaluation.assessment import OF_ALL, Figure
from astroclf.evaluation.intervals import LEVEL, baselines
from astroclf.evaluation.metrics import METRICS
from astroclf.use.evaluation.result import Evaluation
from astroclf.use.evaluation.words import comparison_sentence, doubt_sentence, shift_sentence, turned_sentence
from astroclf.util.terminal import Plain, plain
from astroclf.util.text import number

PROBABILISTIC = ("log_loss", "brier", "ece", "ece_equal_mass")


def results(evaluation: Evaluation) -> RenderableType:
    """Return all that the terminal shows."""
    return Group(_figures(evaluation), "", _classes(evaluation), *_sentences(evaluation), "")


def _figures(evaluation: Evaluation) -> Table:
    predictions = evaluation.predictions
    table = _table(f"{len(predictions):,} images: {evaluation.chosen.said}", "figure")
    table.add_column("value", justify="right")
    table.add_column(f"{100 * LEVEL:g} % interval", justify="right", style="dim")
    blind = baselines(predictions)
    for name, found in evaluation.assessment.of_all.items():
        table.add_row(OF_ALL[name], *_cells(found))
        if name == "accuracy":
            table.add_row("  by guessing each class equally often", number(blind.chance), style="dim")
            table.add_row(Plain(f"  by always saying {blind.majority_class}"), number(blind.majority), style="dim")
    metrics = predictions.metrics()
    for name in PROBABILISTIC:
        if name in metrics:
            table.add_row(METRICS[name].label, number(metrics[name]))
    return table


def _classes(evaluation: Evaluation) -> Table:
    predictions = evaluation.predictions
    table = _table("", "class")
    table.add_column("images", justify="right", style="dim")
    table.add_column("recall", justify="right")
    table.add_column(f"{100 * LEVEL:g} % interval", justify="right", style="dim")
    table.add_column("precision", justify="right")
    table.add_column("F1", justify="right")
    table.add_column("most often taken for", style="dim", overflow="fold")
    for label, name in enumerate(predictions.classes):
        figures = evaluation.assessment.of_class.get(name)
        if figures is None:
            table.add_row(Plain(name), "0", style="dim")
            continue
        row = predictions.confusion[label].copy()
        row[label] = 0
        taken = f"{predictions.classes[int(row.argmax())]} ({row.max()})" if row.any() else ""
        images, (recall, interval) = f"{predictions.confusion[label].sum():,}", _cells(figures["recall"])
        ratios = (number(figures[kind].value) for kind in ("precision", "f1"))
        table.add_row(Plain(name), images, recall, interval, *ratios, Plain(taken))
    return table


def _sentences(evaluation: Evaluation) -> Iterator[RenderableType]:
    """Say the rest, in a paragraph each."""
    if doubt := doubt_sentence(evaluation):
        yield ""
        yield plain(doubt)
    if evaluation.turned is not None:
        yield ""
        yield plain(f"{turned_sentence(evaluation.turned)}")
    if said := shift_sentence(evaluation):
        yield ""
        yield plain(said)
    for comparison in evaluation.comparisons:
        yield ""
        yield plain(f"{comparison_sentence(comparison)}")


def _table(title: str, first: str) -> Table:
    table = Table(title=plain(title, "bold") if title else None, title_justify="left", pad_edge=False)
    table.add_column(first, overflow="fold")
    return table


def _cells(figure: Figure) -> tuple[str, str]:
    return number(figure.value), " – ".join(map(number, figure.interval))
