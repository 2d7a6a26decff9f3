"""``report.html`` of a run: what it was, what it came to, and how to repeat it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astroclf.evaluation import plots
from astroclf.evaluation.curves import draw_curves
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import (
    Pictures,
    class_section,
    confusion_section,
    figures_section,
    headlines,
    least_sure_section,
    mistakes_section,
    result_sentence,
)
from astroclf.evaluation.report.page import (
    Cell,
    Chart,
    Charts,
    Code,
    Column,
    Facts,
    Folded,
    Photo,
    Report,
    Section,
    Table,
)
from astroclf.util.figures import DPI
from astroclf.util.pictures import data_uri
from astroclf.util.text import clock, number

PLOTS_FOLDER = "plots"
AUGMENTED = "augmented"
# The figures of a run by the names of their files, with what they show. Others of `plots/` are no part of the page.
CURVES = {
    "loss": "Training and validation loss over the epochs",
    "validation": "Accuracy and macro F1 of each validation",
    "learning_rate": "Learning rate of each step",
}
TRUST = {
    "reliability": "Reliability diagram: accuracy against confidence",
    "risk_coverage": "Error rate of the images that the model is surest of, against their share",
    "uncertainty": "Uncertainty of right and of wrong predictions",
}


@dataclass(frozen=True)
class Background:
    """What a report says of a run beside its figures.

    Attributes
    ----------
    title
        What was trained on what.
    command
        That repeats the run.
    what
        The data, the code, the record, the model, in the order in which they are shown.
    links
        Where those lead that have an address.
    changes
        The keys whose values differ from the champion's: key, the champion's, this run's.
    champion
        What is called so there, such as ``models:/galaxy10/3``; empty where there is none to differ from.
    facts
        Environment and fingerprints.
    trust
        How its probabilities were calibrated, in words.
    """

    title: str
    command: str
    what: Mapping[str, str] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    changes: Sequence[tuple[str, str, str]] = ()
    champion: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    trust: str = ""


def draw_plots(
    run_folder: str | Path, predictions: Predictions, pictures: Pictures, before: Predictions | None = None
) -> list[Path]:
    """Draw every figure of a run into its ``plots`` folder.

    Parameters
    ----------
    before
        What the network itself said of the test images, before calibration.
    """
    folder = Path(run_folder) / PLOTS_FOLDER
    drawn = draw_curves(run_folder, folder)
    drawn.append(plots.plot_confusion(predictions, folder / "confusion.png"))
    drawn.append(plots.plot_class_accuracy(predictions, folder / "class_accuracy.png"))
    drawn.append(plots.plot_reliability(predictions, folder / "reliability.png", before))
    drawn.append(plots.plot_risk_coverage(predictions, folder / "risk_coverage.png"))
    drawn.append(plots.plot_uncertainty(predictions, folder / "uncertainty.png"))
    if pictures.images is not None:
        drawn.append(plots.plot_mistakes(predictions, pictures.images, folder / "mistakes.png"))
    return drawn


def run_report(
    run_folder: str | Path,
    predictions: Predictions,
    metrics: Mapping[str, Any],
    background: Background,
    pictures: Pictures | None = None,
    more: Sequence[Section] = (),
) -> Report:
    """Make the report of a run from what lies in its folder and what is known of its test.

    Figures are taken from ``plots/`` (see `draw_plots`), the configuration from ``config.yaml``, the network from
    ``model.txt``; what is not there is left out.

    Parameters
    ----------
    metrics
        With the names of ``metrics.json``.
    more
        Sections that come after the images, such as label suspects.
    """
    run_folder, pictures = Path(run_folder), pictures or Pictures()
    folder = run_folder / PLOTS_FOLDER
    sections = [
        *_what_was_run(background),
        *charts_section(folder, CURVES, title="Training", text=_training_words(metrics)),
        confusion_section(predictions, pictures),
        class_section(predictions),
        figures_section(metrics),
        *charts_section(folder, TRUST, title="Can its confidence be believed?", text=background.trust),
        mistakes_section(predictions, pictures),
        least_sure_section(predictions, pictures),
        *more,
        *_augmented(folder / f"{AUGMENTED}.png"),
        Code(title="To repeat it", code=background.command),
    ]
    if background.facts:
        sections.append(Facts(title="Environment and fingerprints", facts=_texts(background.facts)))
    parts = {
        "Configuration": _text(run_folder / "config.yaml"),
        "Network": _text(run_folder / "model.txt"),
        "All figures": "\n".join(f"{name}: {number(value, 6)}" for name, value in sorted(metrics.items())),
    }
    sections.append(Folded(title="In full", parts={name: text for name, text in parts.items() if text}))
    return Report(background.title, result_sentence(predictions), headlines(metrics), sections)


def charts_section(folder: Path, names: Mapping[str, str], title: str, text: str = "") -> list[Charts]:
    """Return the section of those figures that were drawn into a folder; none where there is none of them.

    Parameters
    ----------
    names
        Of the PNG files without their ending, each with what it shows in words.
    """
    there = {folder / f"{name}.png": alt for name, alt in names.items()}
    charts = [Chart.of(path, alt, DPI) for path, alt in there.items() if path.is_file()]
    return [Charts(title=title, text=text, charts=charts)] if charts else []


def _what_was_run(background: Background) -> list[Section]:
    sections: list[Section] = []
    if background.what:
        sections.append(Facts(title="What was run", facts=background.what, links=background.links))
    if background.champion:
        words = {1: "One key differs."}.get(len(background.changes), f"{len(background.changes)} keys differ.")
        sections.append(
            Table(
                title=f"Beside the champion, {background.champion}",
                text=words if background.changes else "It was trained with the same configuration.",
                columns=[Column(name, numeric=False) for name in ("key", "the champion's", "this run's")],
                rows=[[Cell(text) for text in change] for change in background.changes],
            )
        )
    return sections


def _training_words(metrics: Mapping[str, Any]) -> str:
    """Say how long each part of the run took, and how fast it learned."""
    parts = {
        "training": metrics.get("train/seconds"),
        "validation and saving": metrics.get("train/validation_seconds"),
        "test": metrics.get("run/test_seconds"),
        "data and set-up": metrics.get("run/setup_seconds"),
    }
    words = []
    if metrics.get("train/steps") is not None:
        words.append(f"{metrics['train/steps']} steps, the best weights after step {metrics.get('train/best_step')}.")
    if times := [f"{clock(seconds)} {name}" for name, seconds in parts.items() if seconds is not None]:
        words.append(
            f"Time: {', '.join(times)} (minutes and seconds; test and set-up of the last start, where it was resumed)."
        )
    if (rate := metrics.get("train/images_per_second")) is not None:
        waited = metrics.get("train/data_wait_fraction") or 0.0
        words.append(f"{rate:,.0f} images a second; {waited:.1%} of the training waited for data.")
    return " ".join(words)


def _augmented(path: Path) -> list[Photo]:
    if not path.is_file():
        return []
    source = data_uri(path.read_bytes(), "png")
    return [Photo(title="What the network was shown", source=source, alt="Samples and their augmented versions")]


def _texts(facts: Mapping[str, Any]) -> dict[str, str]:
    return {
        name.replace("_", " "): ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        for name, value in facts.items()
    }


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
