"""``report.html`` of an evaluation: on which images, how good, for which of them, and beside which other models."""

from __future__ import annotations

from pathlib import Path

from astroclf.evaluation import plots
from astroclf.evaluation.assessment import OF_ALL, Figure
from astroclf.evaluation.intervals import LEVEL, Interval
from astroclf.evaluation.report.answers import (
    Pictures,
    class_section,
    confusion_section,
    headlines,
    least_sure_section,
    mistakes_section,
    result_sentence,
)
from astroclf.evaluation.report.of_run import PLOTS_FOLDER, TRUST, charts_section
from astroclf.evaluation.report.page import Cell, Code, Column, Facts, Folded, Report, Section, Table, write_report
from astroclf.evaluation.shift import COLUMNS
from astroclf.use.evaluation.result import Evaluation
from astroclf.use.evaluation.words import (
    TRUST_FIGURES,
    calibration_sentence,
    doubt_sentence,
    shift_sentence,
    turned_sentence,
)
from astroclf.util.text import number
from astroclf.util.version import __version__

_INTERVAL = f"{100 * LEVEL:g} % interval"


def draw(folder: Path, evaluation: Evaluation) -> None:
    """Draw the figures of an evaluation into its ``plots`` folder."""
    predictions, plots_folder = evaluation.predictions, folder / PLOTS_FOLDER
    before = evaluation.before if evaluation.is_calibrated else None
    plots.plot_reliability(predictions, plots_folder / "reliability.png", before)
    plots.plot_risk_coverage(predictions, plots_folder / "risk_coverage.png")
    plots.plot_uncertainty(predictions, plots_folder / "uncertainty.png")
    if evaluation.shift is not None:
        plots.plot_shift(evaluation.shift, plots_folder / "shift.png")


def write(folder: Path, evaluation: Evaluation, pictures: Pictures, command: str) -> Path:
    """Write the report of an evaluation into its folder; its figures are there (see `draw`)."""
    predictions, metrics = evaluation.predictions, evaluation.metrics()
    about = {
        "model": evaluation.model,
        "data": evaluation.data,
        "images": f"{len(predictions):,}: {evaluation.chosen.said}",
        "test fingerprint": evaluation.chosen.fingerprint,
        "astroclf": __version__,
    }
    notes = {"beware": " ".join(evaluation.notes)} if evaluation.notes else {}
    sections: list[Section] = [
        Facts(title="What was evaluated", facts=notes | about),
        *_common(evaluation),
        *_comparisons(evaluation),
        _figures(evaluation),
        confusion_section(predictions, pictures),
        class_section(predictions),
        *charts_section(folder / PLOTS_FOLDER, TRUST, title="Can its confidence be believed?"),
        _calibration(evaluation),
        *_doubt(evaluation),
        *_turned(evaluation),
        *_shift(evaluation, folder),
        mistakes_section(predictions, pictures),
        least_sure_section(predictions, pictures),
        Code(title="To repeat it", code=command),
        Folded(title="In full", parts={"All figures": _all(metrics)}),
    ]
    title = f"{evaluation.model} on {evaluation.data}"
    return write_report(
        folder / "report.html", Report(title, result_sentence(predictions), headlines(metrics), sections)
    )


def _common(evaluation: Evaluation) -> list[Section]:
    """Return the table of the classes that were brought together, where some were."""
    if not evaluation.common:
        return []
    rows = [
        [
            Cell("left out" if each.name is None else each.name),
            Cell(", ".join(each.of_model) or "–"),
            Cell(", ".join(each.of_data) or "–"),
            Cell("–" if each.name is None else f"{each.images:,}", sort=each.images),
        ]
        for each in evaluation.common
    ]
    names = ("here", "of the model", "of the data")
    return [
        Table(
            title="Classes brought together",
            text="Probabilities of classes that become one are added up. What is left out gives its probability to "
            "the others in proportion, and its images were not looked at.",
            columns=[*(Column(name, numeric=False) for name in names), Column("images")],
            rows=rows,
        )
    ]


def _figures(evaluation: Evaluation) -> Table:
    rows = [[Cell(OF_ALL[name]), *_cells(figure)] for name, figure in evaluation.assessment.of_all.items()]
    return Table(
        title="How good it is",
        text="Intervals say what the figure may be on other images of the same kind.",
        columns=[Column("figure", numeric=False), Column("value"), Column(_INTERVAL)],
        rows=rows,
    )


def _calibration(evaluation: Evaluation) -> Table:
    """Return what the probabilities are worth, beside those of the network itself where it was calibrated."""
    metrics, calibrated = evaluation.metrics(), evaluation.is_calibrated
    columns = [Column("figure", numeric=False), Column("value"), *[Column("before calibration")] * calibrated]
    rows = []
    for name, label in TRUST_FIGURES.items():
        if f"test/{name}" in metrics:
            before = metrics.get(f"test/{name}_raw")  # sets there are only after calibration
            rows.append([Cell(label), Cell(number(metrics[f"test/{name}"])), *[Cell(number(before))] * calibrated])
    text = calibration_sentence(evaluation)
    return Table(title="What its probabilities are worth", text=text, columns=columns, rows=rows)


def _comparisons(evaluation: Evaluation) -> list[Section]:
    if not evaluation.comparisons:
        return []
    names = ("images", "the other", "this model", "difference", _INTERVAL, "only this right", "only the other right")
    columns = [Column("against", numeric=False), Column("figure", numeric=False), *map(Column, (*names, "McNemar's p"))]
    rows = [
        [
            Cell(comparison.name), Cell(found.metric.replace("_", " ")), Cell(f"{found.images:,}"),
            Cell(number(found.champion)), Cell(number(found.challenger)), Cell(f"{found.difference:+.3f}"),
            Cell(_signed(Interval(found.low, found.high)), sort=found.low), Cell(str(found.only_challenger)),
            Cell(str(found.only_champion)), Cell(f"{found.p_value:.2g}" if found.metric == "accuracy" else "–"),
        ]
        for comparison in evaluation.comparisons
        for found in comparison.differences
    ]  # fmt: skip
    text = " ".join(f"{each.verdict[:1].upper()}{each.verdict[1:]}." for each in evaluation.comparisons)
    return [Table(title="Beside other models, on the same images", text=text, columns=columns, rows=rows)]


def _doubt(evaluation: Evaluation) -> list[Section]:
    title, said = "Which doubt finds the mistakes", doubt_sentence(evaluation)
    if not evaluation.doubt:
        return [Facts(title=title, text=said, facts={})] if said else []
    names = ("finds wrong answers (AUROC)", _INTERVAL, "gain", f"{_INTERVAL} of the gain")
    rows = [
        [
            Cell(score.name), Cell(number(score.auroc)), Cell(_shown(score.interval), sort=score.interval.low),
            Cell(f"{score.gain:+.3f}"), Cell(_signed(score.gain_interval), sort=score.gain_interval.low),
            Cell(score.verdict),
        ]
        for score in evaluation.doubt
    ]  # fmt: skip
    columns = [Column("measure", numeric=False), *map(Column, names), Column("so it is", numeric=False)]
    return [Table(title=title, text=said, columns=columns, rows=rows)]


def _turned(evaluation: Evaluation) -> list[Section]:
    if evaluation.turned is None:
        return []
    turned = evaluation.turned
    facts = {
        "images": f"{turned.images:,}",
        "label depends on the view": f"{turned.unsteady_share:.1%} of the images {_shown(turned.unsteady_interval)}",
        "views that change the label": f"{turned.changed:.1%}",
        "accuracy, one view": number(turned.gain.champion),
        "accuracy, mean of eight": f"{number(turned.gain.challenger)} (McNemar p = {turned.gain.p_value:.2g})",
    }
    return [Facts(title="Turned and mirrored", text=turned_sentence(turned), facts=facts)]


def _shift(evaluation: Evaluation, folder: Path) -> list[Section]:
    """Return how far the images are from the training images: in words, each statistic, and their distributions."""
    title, said, shift = "Beside the training images", shift_sentence(evaluation), evaluation.shift
    if shift is None:
        return [Facts(title=title, text=said, facts={})] if said else []
    columns = [Column(name, numeric=place > 0) for place, name in enumerate(COLUMNS)]
    rows = [[Cell(text) for text in row] for row in shift.rows()]
    charts = charts_section(folder / PLOTS_FOLDER, {"shift": "Distribution of each statistic"}, "Their distributions")
    return [Table(title=title, text=said, columns=columns, rows=rows), *charts]


def _cells(figure: Figure) -> tuple[Cell, Cell]:
    return Cell(number(figure.value)), Cell(_shown(figure.interval), sort=figure.interval.low)


def _shown(interval: Interval) -> str:
    return " – ".join(map(number, interval))


def _signed(interval: Interval) -> str:
    return f"{interval.low:+.3f} – {interval.high:+.3f}"


def _all(metrics: dict[str, object]) -> str:
    return "\n".join(f"{name}: {number(value, 6)}" for name, value in sorted(metrics.items()))
