"""``report.html``: one file that opens anywhere, offline, and shows what a run came to and how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from astroclf.evaluation import plots
from astroclf.evaluation.intervals import LEVEL, baselines, share_interval
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.predictions import Predictions
from astroclf.util.atomic import write_text
from astroclf.util.figures import class_labels
from astroclf.util.html import render
from astroclf.util.pictures import data_uri, picture_uri
from astroclf.util.terminal import Plain, plain

PLOTS_FOLDER = "plots"


@dataclass(frozen=True)
class Mistake:
    """One wrong prediction, as the report shows it."""

    picture: str  # data URI, or empty
    id: str
    said: str
    truth: str
    confidence: str
    truth_probability: str


def draw_plots(
    run_folder: str | Path, predictions: Predictions, images: Sequence[np.ndarray] | np.ndarray | None = None
) -> list[Path]:
    """Draw every figure of a run into its ``plots`` folder; `images` are those of `predictions`, uint8 (N, H, W, C)."""
    run_folder = Path(run_folder)
    folder = run_folder / PLOTS_FOLDER
    drawn = []
    if (run_folder / "history.csv").is_file():
        drawn.append(plots.plot_curves(run_folder / "history.csv", folder / "curves.png"))
    drawn.append(plots.plot_confusion(predictions, folder / "confusion.png"))
    drawn.append(plots.plot_class_accuracy(predictions, folder / "class_accuracy.png"))
    drawn.append(plots.plot_reliability(predictions, folder / "reliability.png"))
    drawn.append(plots.plot_uncertainty(predictions, folder / "uncertainty.png"))
    if images is not None:
        drawn.append(plots.plot_mistakes(predictions, images, folder / "mistakes.png"))
    return drawn


def write_report(
    run_folder: str | Path,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    *,
    title: str,
    command: str,
    images: Sequence[np.ndarray] | np.ndarray | None = None,
    facts: Mapping[str, Any] | None = None,
    mistakes: int = 24,
) -> Path:
    """Write ``report.html`` into a run folder.

    Shows what lies there: figures from ``plots/`` (see `draw_plots`; a sheet ``plots/augmented.png`` too), the
    configuration from ``config.yaml``, the network from ``model.txt``.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``.
    title
        What was trained on what.
    command
        That repeats the run.
    images
        Those of `predictions`, (N, H, W, C) uint8, or anything that gives image i for index i; None: no pictures.
    facts
        Environment and fingerprints, shown in this order.
    mistakes
        How many of the most confident ones to show.
    """
    run_folder = Path(run_folder)
    wrong = predictions.mistakes(mistakes)
    page = render(
        Path(__file__).with_name("report.html.j2"),
        title=title,
        command=command,
        headlines=[
            (metric.label, number(metrics.get(f"test/{metric.name}")), _interval(metrics, metric.name))
            for metric in METRICS.values()
        ],
        sentence=_sentence(predictions),
        plots=_plots(run_folder / PLOTS_FOLDER),
        classes=[
            (row, _class_width(row.accuracy), label)
            for row, label in zip(predictions.by_class(), class_labels(predictions.classes), strict=True)
        ],
        number=number,
        level=f"{100 * LEVEL:g} %",
        mistakes=[_mistake(predictions, int(index), images) for index in wrong],
        wrong_total=int((~predictions.right).sum()),
        images_total=len(predictions),
        facts=[(name, _fact(value)) for name, value in (facts or {}).items()],
        metrics=[(name, number(value, 6)) for name, value in sorted(metrics.items())],
        config=_text(run_folder / "config.yaml"),
        model=_text(run_folder / "model.txt"),
    )
    path = run_folder / "report.html"
    write_text(path, page)
    return path


def _sentence(predictions: Predictions) -> str:
    """Say the result in words, with what one should look at next."""
    rows = [row for row in predictions.by_class() if row.images]
    if not rows:
        return "The test set is empty."
    best, worst = max(rows, key=lambda row: row.accuracy), min(rows, key=lambda row: row.accuracy)
    blind = baselines(predictions)
    words = (
        f"{int(predictions.right.sum())} of {len(predictions)} test images are classified as their label says; "
        f"guessing would get {_percent(blind.chance)} of them right, always saying {blind.majority_class} "
        f"{_percent(blind.majority)}."
    )
    if best.name != worst.name:
        words += f" Best: {best.name} ({best.accuracy:.0%}); worst: {worst.name} ({worst.accuracy:.0%})"
        confused = predictions.confusion[predictions.classes.index(worst.name)].copy()
        confused[predictions.classes.index(worst.name)] = 0
        if confused.any():
            words += f", most often taken for {predictions.classes[int(confused.argmax())]}"
        words += "."
    return words


def _mistake(predictions: Predictions, index: int, images: Sequence[np.ndarray] | np.ndarray | None) -> Mistake:
    label = predictions.truth[index]
    return Mistake(
        picture=picture_uri(np.asarray(images[index])) if images is not None else "",
        id=str(predictions.ids[index]),
        said=predictions.classes[predictions.predicted[index]],
        truth=predictions.classes[label],
        confidence=f"{predictions.confidence[index]:.0%}",
        truth_probability=f"{predictions.probabilities[index, label]:.0%}",
    )


def _plots(folder: Path) -> dict[str, str]:
    """Return the name of each figure that was drawn, with its data URI."""
    return {path.stem: data_uri(path.read_bytes(), "png") for path in sorted(folder.glob("*.png"))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _fact(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _interval(metrics: Mapping[str, Any], name: str) -> str:
    """Return the interval that stands beside a figure; nothing where it has none."""
    bounds = [metrics.get(f"test/{name}_{end}") for end in ("low", "high")]
    return "" if None in bounds else " – ".join(map(number, bounds))


def _class_width(accuracy: float) -> str:
    """Return the percentage for the bar behind a class's accuracy."""
    return f"{0.0 if math.isnan(accuracy) else 100 * accuracy:.1f}"


def results_table(metrics: Mapping[str, Any], predictions: Predictions, title: str = "Test set") -> Table:
    """Return the table that a training prints last.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``: ``test/accuracy``, ``test/macro_f1``, ….
    """
    table = Table(title=plain(f"{title}: {len(predictions)} images", "bold"), title_justify="left", pad_edge=False)
    table.add_column("figure, then accuracy of each class", overflow="fold")
    table.add_column("value", justify="right")
    table.add_column(f"{100 * LEVEL:g} % interval", justify="right", style="dim")
    table.add_column("images", justify="right", style="dim")
    blind = baselines(predictions)
    for metric in METRICS.values():
        table.add_row(metric.label, number(metrics.get(f"test/{metric.name}")), _interval(metrics, metric.name))
        if metric.name == "accuracy":
            table.add_row("  by guessing each class equally often", number(blind.chance), style="dim")
            table.add_row(Plain(f"  by always saying {blind.majority_class}"), number(blind.majority), style="dim")
    wrong = int((~predictions.right).sum())
    for name, label, count in (
        ("mean_uncertainty_right", "mean uncertainty where right", len(predictions) - wrong),
        ("mean_uncertainty_wrong", "mean uncertainty where wrong", wrong),
    ):
        table.add_row(label, number(metrics.get(f"test/{name}")), "", str(count))
    table.add_section()
    for entry in predictions.by_class():
        interval = " – ".join(map(number, share_interval(entry.right, entry.images))) if entry.images else ""
        table.add_row(Plain(entry.name), number(entry.accuracy), interval, f"{entry.right} of {entry.images}")
    return table


def number(value: Any, digits: int = 3) -> str:
    """Return a figure for people: ``0.786``, or a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float | np.floating) else str(value)
