"""The curves of a training, one figure each: losses, validation figures, and the learning rate of every step."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from astroclf.evaluation.history import HISTORY_FILE, STEPS_FILE, read_history
from astroclf.util.figures import BLUE, GREY, INK, ORANGE, figure

WIDTH, HEIGHT = 3.5, 2.7  # inches: three stand beside each other on a page


def draw_curves(run_folder: str | Path, folder: str | Path) -> list[Path]:
    """Draw the curves of a run folder into `folder`; none where it has no history yet."""
    run_folder, folder = Path(run_folder), Path(folder)
    if not (run_folder / HISTORY_FILE).is_file():
        return []
    history = read_history(run_folder / HISTORY_FILE)
    steps = read_history(run_folder / STEPS_FILE) if (run_folder / STEPS_FILE).is_file() else {}
    return [
        plot_losses(history, steps, folder / "loss.png"),
        plot_validation(history, folder / "validation.png"),
        plot_learning_rate(history, steps, folder / "learning_rate.png"),
    ]


def plot_losses(history: Mapping[str, np.ndarray], steps: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Plot training and validation loss over the epochs; the lowest validation loss is marked.

    Parameters
    ----------
    history, steps
        The columns of ``history.csv`` and of ``steps.csv``.
    """
    losses = history.get("val/loss", np.zeros(0))
    with figure(path, WIDTH, HEIGHT) as axes:
        if "step/loss" in steps:
            batches = steps["step/loss"]
            axes.plot(_epochs_of(steps, history), batches, color=GREY, lw=0.7, alpha=0.8, label="training, a step")
        _draw(axes, history, [("train/loss", "training", GREY), ("val/loss", "validation", BLUE)])
        if np.isfinite(losses).any():
            best = int(np.nanargmin(losses))
            epoch = history["epoch"][best]
            label = f"lowest {losses[best]:.3f}, epoch {epoch:.3g}"
            axes.plot(epoch, losses[best], "o", ms=6, mfc="none", mec=ORANGE, mew=1.4, label=label)
            axes.legend(loc="best")
        axes.set_title("Loss")
    return Path(path)


def plot_validation(history: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Plot accuracy and macro F1 of each validation."""
    with figure(path, WIDTH, HEIGHT) as axes:
        _draw(axes, history, [("val/accuracy", "accuracy", BLUE), ("val/macro_f1", "macro F1", ORANGE)])
        axes.legend(loc="best")
        axes.set_title("Validation")
    return Path(path)


def plot_learning_rate(history: Mapping[str, np.ndarray], steps: Mapping[str, np.ndarray], path: str | Path) -> Path:
    """Plot the learning rate of every step; of the validations alone, where the steps were not kept."""
    with figure(path, WIDTH, HEIGHT) as axes:
        if "step/lr" in steps:
            axes.plot(_epochs_of(steps, history), steps["step/lr"], color=INK)
            axes.set_xlabel("epoch")
            axes.grid(axis="y")
        else:
            _draw(axes, history, [("lr", "", INK)])
        axes.set_title("Learning rate")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.3g}")
    return Path(path)


def _epochs_of(steps: Mapping[str, np.ndarray], history: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the epoch of each step: an epoch has the same number of steps throughout."""
    last = {name: history[name][-1] if len(history.get(name, ())) else math.nan for name in ("epoch", "step")}
    return steps["step"] * (last["epoch"] / last["step"] if last["step"] > 0 else 1.0)


def _draw(axes: Axes, history: Mapping[str, np.ndarray], lines: Sequence[tuple[str, str, str]]) -> None:
    epochs = history.get("epoch", np.zeros(0))
    for column, name, color in lines:
        values = history.get(column, np.full(len(epochs), math.nan))
        known = np.isfinite(values)
        axes.plot(epochs[known], values[known], color=color, label=name, marker="o", ms=0 if known.sum() > 40 else 2.5)
    axes.set_xlabel("epoch")
    axes.grid(axis="y")
