from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from astroclf.evaluation import plots
from astroclf.evaluation.predictions import Predictions


def ink(path: Path) -> float:
    """Share of pixels that are not background: an empty figure has almost none."""
    picture = cv2.imread(str(path))
    assert picture is not None
    return float((picture < 250).any(axis=2).mean())


def with_one_mistake_more(predictions: Predictions) -> Predictions:
    probabilities = predictions.probabilities.copy()
    probabilities[0] = [0.1, 0.8, 0.1]
    return replace(predictions, probabilities=probabilities)


@pytest.mark.parametrize(
    "draw",
    [
        plots.plot_confusion,
        plots.plot_reliability,
        plots.plot_class_accuracy,
        plots.plot_uncertainty,
        plots.plot_risk_coverage,
    ],
)
def test_figures_show_the_results(draw, predictions: Predictions, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    first = draw(predictions, tmp_path / "new" / "first.png")
    assert ink(first) > 0.02
    draw(with_one_mistake_more(predictions), tmp_path / "other.png")
    assert first.read_bytes() != (tmp_path / "other.png").read_bytes()
    assert [path.name for path in first.parent.iterdir()] == ["first.png"]


@pytest.mark.parametrize("rows", [slice(0, 2), slice(5, 6)], ids=["all right", "one image, wrong"])
@pytest.mark.parametrize(
    "draw",
    [
        plots.plot_confusion,
        plots.plot_reliability,
        plots.plot_class_accuracy,
        plots.plot_uncertainty,
        plots.plot_risk_coverage,
    ],
)
def test_small_and_one_sided_results_are_drawn_too(draw, rows: slice, predictions: Predictions, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert ink(draw(predictions.take(rows), tmp_path / "few.png")) > 0.01


def test_the_sheet_of_mistakes_shows_the_wrong_ones(
    predictions: Predictions, images: np.ndarray, tmp_path: Path
) -> None:
    before = plots.plot_mistakes(predictions, images, tmp_path / "mistakes.png").read_bytes()
    images[[0, 1, 3, 4]] = 0  # right ones: not on the sheet
    assert plots.plot_mistakes(predictions, images, tmp_path / "mistakes.png").read_bytes() == before
    images[5] = 0
    assert plots.plot_mistakes(predictions, images, tmp_path / "mistakes.png").read_bytes() != before


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_the_sheet_of_augmented_samples(channels: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    originals = rng.integers(0, 256, (2, 16, 16, channels), dtype=np.uint8)
    versions = rng.integers(0, 256, (2, 3, 12, 12, channels), dtype=np.uint8)
    assert ink(plots.plot_augmented(originals, versions, ["Merging", "Round"], tmp_path / "augmented.png")) > 0.4


def test_calibration_is_seen_beside_what_was_before_it(predictions: Predictions, tmp_path: Path) -> None:
    alone = plots.plot_reliability(predictions, tmp_path / "alone.png").read_bytes()
    before = replace(predictions, probabilities=predictions.probabilities**2)
    assert plots.plot_reliability(predictions, tmp_path / "beside.png", before).read_bytes() != alone
    assert plots.plot_reliability(predictions, tmp_path / "same.png", predictions).read_bytes() == alone


def test_drawing_leaves_the_users_pyplot_alone(predictions: Predictions, tmp_path: Path) -> None:
    import matplotlib as mpl

    size = mpl.rcParams["font.size"]
    loaded = "matplotlib.pyplot" in sys.modules
    plots.plot_reliability(predictions, tmp_path / "reliability.png")
    assert mpl.rcParams["font.size"] == size
    assert ("matplotlib.pyplot" in sys.modules) == loaded
