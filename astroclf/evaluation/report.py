"""``report.html``: one file that opens anywhere, offline, and shows what a run came to and how to repeat it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.evaluation import plots
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.predictions import Results, number
from astroclf.util.atomic import write_text
from astroclf.util.html import render
from astroclf.util.pictures import data_uri, thumbnail

PLOTS_FOLDER = "plots"
AUGMENTED_SHEET = "augmented.png"


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
    run_folder: str | Path, results: Results, images: Sequence[np.ndarray] | np.ndarray | None = None
) -> list[Path]:
    """Draw every figure of a run into its ``plots`` folder; `images` are those of `results`, uint8 (N, H, W, C)."""
    run_folder = Path(run_folder)
    folder = run_folder / PLOTS_FOLDER
    drawn = []
    if (run_folder / "history.csv").is_file():
        drawn.append(plots.plot_curves(run_folder / "history.csv", folder / "curves.png"))
    drawn.append(plots.plot_confusion(results, folder / "confusion.png"))
    drawn.append(plots.plot_class_accuracy(results, folder / "class_accuracy.png"))
    drawn.append(plots.plot_reliability(results, folder / "reliability.png"))
    drawn.append(plots.plot_uncertainty(results, folder / "uncertainty.png"))
    if images is not None:
        drawn.append(plots.plot_mistakes(results, images, folder / "mistakes.png"))
    return drawn


def write_report(
    run_folder: str | Path,
    results: Results,
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
        Those of `results`, (N, H, W, C) uint8, or anything that gives image i for index i; None: no thumbnails.
    facts
        Environment and fingerprints, shown in this order.
    mistakes
        How many of the most confident ones to show.
    """
    run_folder = Path(run_folder)
    wrong = results.mistakes(mistakes)
    page = render(
        Path(__file__).with_name("report.html.j2"),
        title=title,
        command=command,
        headlines=[(metric.label, number(metrics.get(f"test/{metric.name}"))) for metric in METRICS.values()],
        sentence=_sentence(results),
        plots=_plots(run_folder / PLOTS_FOLDER),
        classes=[(row, _class_width(row.accuracy)) for row in results.by_class()],
        number=number,
        mistakes=[_mistake(results, int(index), images) for index in wrong],
        wrong_total=int((~results.right).sum()),
        images_total=len(results),
        facts=[(name, _fact(value)) for name, value in (facts or {}).items()],
        metrics=[(name, number(value, 6)) for name, value in sorted(metrics.items())],
        config=_text(run_folder / "config.yaml"),
        model=_text(run_folder / "model.txt"),
    )
    path = run_folder / "report.html"
    write_text(path, page)
    return path


def _sentence(results: Results) -> str:
    """The result in words, with what one should look at next."""
    rows = [row for row in results.by_class() if row.images]
    if not rows:
        return "The test set is empty."
    best, worst = max(rows, key=lambda row: row.accuracy), min(rows, key=lambda row: row.accuracy)
    words = f"{int(results.right.sum())} of {len(results)} test images are classified as their label says."
    if best.name != worst.name:
        words += f" Best: {best.name} ({best.accuracy:.0%}); worst: {worst.name} ({worst.accuracy:.0%})"
        confused = results.confusion[results.classes.index(worst.name)].copy()
        confused[results.classes.index(worst.name)] = 0
        if confused.any():
            words += f", most often taken for {results.classes[int(confused.argmax())]}"
        words += "."
    return words


def _mistake(results: Results, index: int, images: Sequence[np.ndarray] | np.ndarray | None) -> Mistake:
    label = results.labels[index]
    return Mistake(
        picture=thumbnail(np.asarray(images[index])) if images is not None else "",
        id=str(results.ids[index]),
        said=results.classes[results.predictions[index]],
        truth=results.classes[label],
        confidence=f"{results.confidence[index]:.0%}",
        truth_probability=f"{results.probabilities[index, label]:.0%}",
    )


def _plots(folder: Path) -> dict[str, str]:
    """Name of each figure that was drawn, with its data URI."""
    return {path.stem: data_uri(path.read_bytes(), "png") for path in sorted(folder.glob("*.png"))}


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _fact(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list | tuple) else str(value)


def _class_width(accuracy: float) -> str:
    """Percentage for the bar behind a class's accuracy."""
    return f"{0.0 if math.isnan(accuracy) else 100 * accuracy:.1f}"
