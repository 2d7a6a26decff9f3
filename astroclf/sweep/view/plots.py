"""The figures of a study, in the look of a run's own; each is left out where there is too little to draw.

Optuna's own figures go through pyplot's global state and cut off or overlap the names of more than a few parameters.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from datetime import datetime
from itertools import combinations
from pathlib import Path

import numpy as np
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from astroclf.sweep.results import STATE_NAMES, best_trials, is_valued, varied_keys, write_trials
from astroclf.sweep.view.parameter_plots import ROUND_STEPS, plot_parallel, plot_slice, scatter
from astroclf.sweep.view.wording import short_names, value_text
from astroclf.util.figures import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, figure, shorten

STATE_COLORS = {
    TrialState.COMPLETE: BLUE,
    TrialState.PRUNED: GREY,
    TrialState.FAIL: PURPLE,
    TrialState.RUNNING: GREEN,
}
MIN_TRIALS_FOR_IMPORTANCE = 4  # among fewer complete ones, chance alone decides
TOP_TRIALS = 5  # that importance compares with the others: Optuna's documentation asks for at least so many


def draw_plots(study: Study, folder: str | Path, metrics: Sequence[str]) -> list[Path]:
    """Draw what can be drawn of a study into `folder`, and write ``trials.csv`` beside it.

    Parameters
    ----------
    metrics
        Names of the objectives, in the order of the study's directions.
    """
    folder, directions = Path(folder), study.directions
    trials = study.get_trials(deepcopy=False)
    valued = [trial for trial in trials if is_valued(trial)]
    keys = varied_keys(valued)
    drawn = [write_trials(folder / "trials.csv", trials, metrics)]
    if valued and len(metrics) == 1:
        drawn.append(plot_history(trials, directions, metrics[0], folder / "history.png"))
    if len(valued) > 1 and len(metrics) > 1:
        drawn.append(plot_pareto(trials, directions, metrics, folder / "pareto_front.png"))
    if shares := importances(study, metrics):
        drawn.append(plot_importance(shares, len(valued), folder / "importance.png"))
    if keys:
        drawn.append(plot_parallel(valued, directions, metrics, keys, folder / "parallel_coordinates.png"))
    for place, metric in enumerate(metrics if keys else ()):
        name = "slice.png" if len(metrics) == 1 else f"slice_{re.sub('[^a-z0-9]+', '_', metric.lower())}.png"
        drawn.append(plot_slice(valued, directions, place, metric, keys, folder / name))
    if any(trial.datetime_start for trial in trials):
        drawn.append(plot_timeline(trials, folder / "timeline.png"))
    return drawn


def plot_history(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], metric: str, path: str | Path
) -> Path:
    """Draw each complete trial and the best so far; pruned and failed ones are marked at the lower edge."""
    valued = [trial for trial in trials if is_valued(trial)]
    numbers, values = np.array([trial.number for trial in valued]), np.array([trial.values[0] for trial in valued])
    minimize = directions[0] == StudyDirection.MINIMIZE
    best = np.minimum.accumulate(values) if minimize else np.maximum.accumulate(values)
    with figure(path, 6.4, 3.4) as axes:
        scatter(axes, numbers, values, minimize, color=BLUE, label=f"complete ({len(valued)})")
        axes.step(
            [*numbers, trials[-1].number], [*best, best[-1]], where="post", color=ORANGE,
            label=f"best so far: {value_text(best[-1])}, trial {best_trials(trials, directions)[0].number}",
        )  # fmt: skip
        edge = axes.get_xaxis_transform()
        for state, marker, height in ((TrialState.PRUNED, "|", 0.05), (TrialState.FAIL, "x", 0.05)):
            there = [trial.number for trial in trials if trial.state == state]
            if there:
                axes.plot(
                    there, [height] * len(there), marker, ms=5, color=STATE_COLORS[state], transform=edge,
                    label=f"{STATE_NAMES[state]} ({len(there)})",
                )  # fmt: skip
        axes.set(xlabel="trial", ylabel=metric, xlim=(-0.6, trials[-1].number + 0.6))
        axes.xaxis.set_major_locator(MaxNLocator(steps=ROUND_STEPS, integer=True))
        axes.grid(axis="y")
        axes.figure.legend(loc="outside upper left", ncols=4)
    return Path(path)


def plot_pareto(
    trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], metrics: Sequence[str], path: str | Path
) -> Path:
    """Draw every pair of objectives against each other, and the Pareto front of all of them with its trial numbers."""
    valued = [trial for trial in trials if is_valued(trial)]
    front = best_trials(trials, directions)
    pairs = list(combinations(range(len(metrics)), 2))
    with figure(path, 4.6 * len(pairs), 3.8, columns=len(pairs), squeeze=False) as grid:
        for axes, (x, y) in zip(grid[0], pairs, strict=True):
            axes.plot(*_points(valued, x, y), "o", ms=4, color=BLUE, alpha=0.7, label=f"complete ({len(valued)})")
            chosen = sorted(front, key=lambda trial: trial.values[x])
            line = "--" if len(metrics) == 2 else "none"  # seen from the side, a surface is no line
            axes.plot(
                *_points(chosen, x, y), ls=line, marker="o", ms=6, lw=1, color=ORANGE,
                label=f"Pareto front ({len(front)})",
            )  # fmt: skip
            for trial in chosen[:: max(1, len(chosen) // 12)]:
                axes.annotate(
                    str(trial.number), (trial.values[x], trial.values[y]), (4, 4),
                    textcoords="offset points", fontsize=7, color=INK,
                )  # fmt: skip
            axes.set(
                xlabel=_with_direction(metrics[x], directions[x]), ylabel=_with_direction(metrics[y], directions[y])
            )
            axes.grid()
        grid[0, 0].figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper left", ncols=2)
    return Path(path)


def importances(study: Study, metrics: Sequence[str]) -> dict[str, dict[str, float]]:
    """Estimate, for each objective, the share of each parameter in what sets the best trials apart from the others.

    PED-ANOVA (Watanabe et al. 2023, arXiv:2304.10255): needs nothing but Optuna, and serves parameters that only some
    trials have. Empty where there is nothing to tell: few trials, one parameter, equal values.
    """
    valued = [trial for trial in study.get_trials(deepcopy=False) if is_valued(trial)]
    if len(valued) < MIN_TRIALS_FOR_IMPORTANCE or len(varied_keys(valued)) < 2:
        return {}
    top = min(0.5, max(0.1, TOP_TRIALS / len(valued)))
    shares = {}
    for place, metric in enumerate(metrics):
        if len({trial.values[place] for trial in valued}) < 2:
            continue
        sign = 1.0 if study.directions[place] == StudyDirection.MINIMIZE else -1.0
        with warnings.catch_warnings(action="ignore"):  # it reminds everybody that a target must be low to be good
            shares[metric] = get_param_importances(
                study,
                evaluator=PedAnovaImportanceEvaluator(target_quantile=top),
                params=varied_keys(valued),
                target=lambda trial, place=place, sign=sign: sign * trial.values[place],  # type: ignore[misc]
            )
    return shares


def plot_importance(shares: dict[str, dict[str, float]], trials: int, path: str | Path) -> Path:
    """Draw bars of `importances`, which `trials` complete trials gave, the largest on top."""
    first = next(iter(shares.values()))
    keys = sorted(first, key=lambda key: max(share[key] for share in shares.values()))
    names, thick = short_names(keys), 0.72 / len(shares)
    with figure(path, 5.2, 1.1 + 0.3 * len(keys) * max(1, 0.6 * len(shares))) as axes:
        for place, (metric, share) in enumerate(shares.items()):
            heights = np.arange(len(keys)) + (0.5 * (len(shares) - 1) - place) * thick
            widths = [share[key] for key in keys]
            axes.barh(heights, widths, thick, color=(BLUE, ORANGE, GREEN, PURPLE)[place % 4], alpha=0.85, label=metric)
            for height, width in zip(heights, widths, strict=True):
                axes.text(width + 0.01, height, f"{width:.0%}", va="center", fontsize=7.5, color=INK)
        axes.set_yticks(range(len(keys)), [shorten(names[key]) for key in keys])
        axes.set(xlim=(0, 1.1), xlabel=f"share in what sets the best of {trials} complete trials apart")
        axes.set_xticks(np.linspace(0, 1, 6), [f"{share:.0%}" for share in np.linspace(0, 1, 6)])
        axes.set_title("Importance" if len(shares) > 1 else f"Importance for {next(iter(shares))}")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
        if len(shares) > 1:
            axes.legend(loc="lower right")
    return Path(path)


def plot_timeline(trials: Sequence[FrozenTrial], path: str | Path) -> Path:
    """Draw when each trial ran, by its state; one that was interrupted spans the pause."""
    begun = [trial for trial in trials if trial.datetime_start]
    first = min(trial.datetime_start for trial in begun)  # type: ignore[type-var]
    assert first is not None
    ends = [(trial.datetime_complete or datetime.now()) - first for trial in begun]
    starts = [trial.datetime_start - first for trial in begun]  # type: ignore[operator]
    unit, seconds = ("hours", 3600.0) if max(ends).total_seconds() > 3 * 3600 else ("minutes", 60.0)
    with figure(path, 6.4, 1.4 + min(0.16 * len(begun), 6.0)) as axes:
        for state, color in STATE_COLORS.items():
            those = [index for index, trial in enumerate(begun) if trial.state == state]
            left = np.array([starts[index].total_seconds() for index in those]) / seconds
            right = np.array([ends[index].total_seconds() for index in those]) / seconds
            numbers = [begun[index].number for index in those]
            axes.barh(numbers, right - left, 0.7, left, color=color, edgecolor=color, lw=0.8)
        legend = [
            Patch(color=color, label=f"{STATE_NAMES[state]} ({sum(trial.state == state for trial in begun)})")
            for state, color in STATE_COLORS.items()
            if any(trial.state == state for trial in begun)
        ]
        axes.set(xlabel=f"{unit} since {first:%Y-%m-%d %H:%M}", ylabel="trial", ylim=(trials[-1].number + 0.7, -0.7))
        axes.set_xlim(left=0)
        axes.yaxis.set_major_locator(MaxNLocator(steps=ROUND_STEPS, integer=True))
        axes.grid(axis="x")
        axes.figure.legend(handles=legend, loc="outside upper left", ncols=4)
    return Path(path)


def _points(trials: Sequence[FrozenTrial], x: int, y: int) -> tuple[list[float], list[float]]:
    return [trial.values[x] for trial in trials], [trial.values[y] for trial in trials]


def _with_direction(metric: str, direction: StudyDirection) -> str:
    return f"{metric} ({'lower' if direction == StudyDirection.MINIMIZE else 'higher'} is better)"
