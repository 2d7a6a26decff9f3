"""What an evaluation prints: one table of figures with their intervals, the classes, and what else was found."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.table import Table

from astroclf.evaluation.assessment import OF_ALL, Figure
from astroclf.evaluation.compare import Comparison
from astroclf.evaluation.intervals import LEVEL, baselines
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.report import number
from astroclf.use.evaluation.result import Evaluation
from astroclf.util.terminal import Plain, plain

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
    for name, label in OF_ALL.items():
        table.add_row(label, *_cells(evaluation.assessment.of_all[name]))
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
    """Say the rest in a line each."""
    if evaluation.doubt:
        best = max(evaluation.doubt, key=lambda score: score.auroc)
        each = ", ".join(
            f"{score.name} {score.auroc:.3f}{'' if score.name == '1 - highest probability' else f' ({score.verdict})'}"
            for score in evaluation.doubt
        )
        yield ""
        yield plain(f"Finds wrong answers (AUROC): {each}. Best: {best.name}.")
    if evaluation.turned is not None:
        turned, gain = evaluation.turned, evaluation.turned.gain
        yield plain(
            f"Turned and mirrored: {turned.unsteady_share:.1%} of {turned.images:,} images change their label in some "
            f"view. The mean of eight views brings {100 * gain.difference:+.1f} points of accuracy "
            f"[{100 * gain.low:+.1f}, {100 * gain.high:+.1f}]."
        )
    for comparison in evaluation.comparisons:
        yield plain(sentence(comparison))


def sentence(comparison: Comparison) -> str:
    """Say in words how a model stands beside another one."""
    accuracy, macro_f1 = comparison.differences
    return (
        f"{comparison.verdict[:1].upper()}{comparison.verdict[1:]}: accuracy {accuracy.challenger:.3f} against "
        f"{accuracy.champion:.3f}, {100 * accuracy.difference:+.1f} points [{100 * accuracy.low:+.1f}, "
        f"{100 * accuracy.high:+.1f}], macro F1 {100 * macro_f1.difference:+.1f} [{100 * macro_f1.low:+.1f}, "
        f"{100 * macro_f1.high:+.1f}], on the same {accuracy.images:,} images; {accuracy.only_challenger} only this "
        f"one gets right, {accuracy.only_champion} only the other (McNemar p = {accuracy.p_value:.2g})."
    )


def _table(title: str, first: str) -> Table:
    table = Table(title=plain(title, "bold") if title else None, title_justify="left", pad_edge=False)
    table.add_column(first, overflow="fold")
    return table


def _cells(figure: Figure) -> tuple[str, str]:
    return number(figure.value), " – ".join(map(number, figure.interval))
