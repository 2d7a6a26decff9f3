"""Figures of what each searched parameter did: slices, and parallel coordinates."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.ticker import LogLocator, MaxNLocator
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from astroclf.sweep.results import best_trials
from astroclf.sweep.view.wording import param_text, parts_of, short_names, value_text
from astroclf.util.figures import GREY, INK, ORANGE, figure, shorten
from astroclf.util.fonts import drawable

PANELS_IN_ROW = 4
ROUND_STEPS = (1, 2, 5, 10)  # steps between ticks
NOT_SEARCHED_HEIGHT = -0.13  # height of trials that did not have a parameter, below its axis from 0 to 1


@dataclass(frozen=True)
class Scale:
    """The axis of a parameter: choices lie at 0, 1, 2, …; numbers as they are, or by their logarithm."""

    low: float
    high: float
    log: bool = False
    integer: bool = False
    choices: tuple[str, ...] = ()

    @classmethod
    def of(cls, trials: Sequence[FrozenTrial], key: str) -> Scale:
        """Make the axis of the range that was searched: what nobody tried of it is worth seeing."""
        distributions = [trial.distributions[key] for trial in trials if key in trial.distributions]
        choices: dict[str, None] = {}
        for distribution in distributions:
            if isinstance(distribution, CategoricalDistribution):
                choices |= dict.fromkeys(param_text(choice) for choice in distribution.choices)
        if choices:
            return cls(0, len(choices) - 1, choices=tuple(choices))
        numeric = [d for d in distributions if isinstance(d, (FloatDistribution, IntDistribution))]
        low, high = min(d.low for d in numeric), max(d.high for d in numeric)
        return cls(low, high, numeric[0].log, isinstance(numeric[0], IntDistribution))

    def number(self, value: Any) -> float:
        """Return a value's place: the number itself, or that of its choice."""
        return self.choices.index(param_text(value)) if self.choices else float(value)

    def height(self, number: float) -> float:
        """Return how high a number lies on the axis, from 0 (lowest) to 1 (highest)."""
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def ticks(self) -> list[tuple[float, str]]:
        """Choose round numbers, or the choices, and their labels."""
        if self.choices:
            return [(place, shorten(drawable(choice), 14)) for place, choice in enumerate(self.choices)]
        if self.high == self.low:
            return [(self.low, param_text(self.low))]
        decades = math.log10(self.high / self.low) if self.log else 0
        if decades >= 1:
            numbers = LogLocator(numticks=6).tick_values(self.low, self.high)
        else:
            numbers = MaxNLocator(4, steps=ROUND_STEPS, integer=self.integer).tick_values(self.low, self.high)
        slack = 1e-9 * abs(self.high - self.low)
        return [(float(n), param_text(float(n))) for n in numbers if self.low - slack <= n <= self.high + slack]


def plot_slice(
    valued: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    place: int,
    metric: str,
    keys: Sequence[str],
    path: str | Path,
) -> Path:
    """Draw objective number `place` against each parameter; later trials are darker, the best is ringed."""
    names, minimize = short_names(keys), directions[place] == StudyDirection.MINIMIZE
    best = {trial.number for trial in best_trials(valued, directions)}
    first, last = valued[0].number, max(valued[-1].number, valued[0].number + 1)
    columns = min(PANELS_IN_ROW, len(keys))
    rows = math.ceil(len(keys) / columns)
    shades: dict[str, Any] = {"cmap": "Blues", "vmin": first - 0.5 * (last - first), "vmax": last}
    with figure(
        path, 1.3 + 2.2 * columns, 0.3 + 2.3 * rows, rows=rows, columns=columns, squeeze=False, sharey=True
    ) as grid:
        for axes in grid.flat[len(keys) :]:
            axes.set_axis_off()
        for axes, key in zip(grid.flat, keys, strict=False):
            those, scale = [trial for trial in valued if key in trial.params], Scale.of(valued, key)
            numbers = np.array([trial.number for trial in those])
            x = np.array([scale.number(trial.params[key]) for trial in those])
            y = np.array([trial.values[place] for trial in those])
            if scale.choices:  # side by side rather than on top of each other
                x = x + 0.4 * _aside(numbers)
            _prepare(axes, scale)
            dots = scatter(axes, x, y, minimize, c=numbers, edgecolors=GREY, linewidths=0.4, **shades)
            ringed = np.isin(numbers, list(best))
            axes.plot(x[ringed], y[ringed], "o", ms=8, mfc="none", mec=ORANGE, mew=1.5)
            axes.set_xlabel(names[key])
            axes.grid(axis="y")
        for axes in grid[:, 0]:
            axes.set_ylabel(metric)
        low, high = _shown_range(np.array([trial.values[place] for trial in valued]), minimize)
        grid[0, 0].set_ylim(low, high)
        bar = grid[0, 0].figure.colorbar(dots, ax=grid, fraction=0.03, pad=0.02, label="trial")
        bar.ax.set_ylim(first, last)
        bar.ax.yaxis.set_major_locator(MaxNLocator(steps=ROUND_STEPS, integer=True))
        bar.outline.set_visible(False)
    return Path(path)


def plot_parallel(
    valued: Sequence[FrozenTrial],
    directions: Sequence[StudyDirection],
    metrics: Sequence[str],
    keys: Sequence[str],
    path: str | Path,
) -> Path:
    """Draw each complete trial as a line through its parameters to its value; the best in orange, worse ones paler."""
    names = short_names(keys)
    scales = [Scale.of(valued, key) for key in keys]
    for place, direction in enumerate(directions):
        values = [trial.values[place] for trial in valued]
        low, high = _shown_range(np.array(values), direction == StudyDirection.MINIMIZE)
        scales.append(Scale(low, high))
    heights = np.full((len(valued), len(scales)), NOT_SEARCHED_HEIGHT)
    for row, trial in enumerate(valued):
        for column, key in enumerate(keys):
            if key in trial.params:
                heights[row, column] = scales[column].height(scales[column].number(trial.params[key]))
            if scales[column].choices or key not in trial.params:  # side by side rather than in one point
                heights[row, column] += 0.05 * float(_aside(np.array(trial.number)))
        for place, value in enumerate(trial.values):
            heights[row, len(keys) + place] = np.clip(scales[len(keys) + place].height(value), 0, 1)
    goodness = heights[:, len(keys)] if directions[0] == StudyDirection.MAXIMIZE else 1 - heights[:, len(keys)]
    best = {trial.number for trial in best_trials(valued, directions)}
    with figure(path, max(4.2, 0.6 + 1.25 * len(scales)), 4.0) as axes:
        order = np.argsort(goodness)
        lines = [np.column_stack([np.arange(len(scales)), heights[row]]) for row in order]
        shades = 0.15 + 0.85 * goodness[order] ** 2
        axes.add_collection(LineCollection(lines, cmap="Blues", array=shades, clim=(0, 1.15), lw=1.2, alpha=0.85))
        for row, trial in enumerate(valued):
            if trial.number in best:
                axes.plot(heights[row], color=ORANGE, lw=2.2, marker="o", ms=4)
        titles = [*(names[key] for key in keys), *metrics]
        for column, (scale, title) in enumerate(zip(scales, titles, strict=True)):
            _vertical_axis(axes, column, scale, title, is_value=column >= len(keys))
        if (heights < -0.05).any():
            axes.text(-0.08, NOT_SEARCHED_HEIGHT, "not\nsearched", ha="right", va="center", fontsize=7, color=GREY)
        axes.set(xlim=(-0.3, len(scales) - 0.55), ylim=(-0.17 if (heights < -0.05).any() else -0.05, 1.16))
        axes.set_axis_off()
    return Path(path)


def scatter(axes: Axes, x: np.ndarray, y: np.ndarray, minimize: bool, label: str = "", **style: Any) -> Any:
    """Draw dots; values so bad that they would squeeze all others (see `_shown_range`) become arrows at the edge."""
    low, high = _shown_range(y, minimize)
    inside = (y >= low) & (y <= high)
    colors = style.pop("c", None)
    given = {} if colors is None else {"c": colors[inside]}
    dots = axes.scatter(x[inside], y[inside], s=18, zorder=2, label=label, **given, **style)
    if not inside.all():
        given = {} if colors is None else {"c": colors[~inside]}
        edge = np.full((~inside).sum(), 0.985 if minimize else 0.015)
        marker = "^" if minimize else "v"
        axes.scatter(x[~inside], edge, s=18, marker=marker, transform=axes.get_xaxis_transform(), **given, **style)
        axes.set_ylim(low, high)
    return dots


def _aside(numbers: np.ndarray) -> np.ndarray:
    """Place trials evenly between -0.5 and 0.5, the same each time."""
    return numbers * 0.618 % 1 - 0.5


def _shown_range(values: np.ndarray, minimize: bool) -> tuple[float, float]:
    """Return the ends of an axis: all values with a margin, on the bad side within three quartile ranges."""
    low, high = float(values.min()), float(values.max())
    first, third = np.quantile(values, (0.25, 0.75))
    reach = 3 * float(third - first)
    if reach > 0 and minimize:
        high = min(high, float(third) + reach)
    elif reach > 0:
        low = max(low, float(first) - reach)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def _prepare(axes: Axes, scale: Scale) -> None:
    """Set the horizontal axis of a slice: the whole searched range, few ticks."""
    if scale.choices:
        places, labels = zip(*scale.ticks(), strict=True)
        broken = ["\n".join(parts_of(label)) for label in labels]
        widest = max(len(part) for label in labels for part in parts_of(label))
        if widest * len(labels) <= 26:
            axes.set_xticks(places, labels if sum(map(len, labels)) <= 22 else broken)
        else:
            axes.set_xticks(places, labels, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_xlim(scale.low - 0.5, scale.high + 0.5)
        return
    if scale.log:
        axes.set_xscale("log")
    ticks = scale.ticks()
    axes.set_xticks([number for number, _ in ticks], [label for _, label in ticks])
    axes.set_xticks([], minor=True)
    if scale.high > scale.low:
        ends = np.geomspace if scale.log else np.linspace
        inner = ends(scale.low, scale.high, 21)
        pad = inner[1] / inner[0] if scale.log else inner[1] - inner[0]
        axes.set_xlim((scale.low / pad, scale.high * pad) if scale.log else (scale.low - pad, scale.high + pad))


def _vertical_axis(axes: Axes, column: int, scale: Scale, title: str, is_value: bool) -> None:
    axes.plot([column, column], [0, 1], color=INK if is_value else GREY, lw=1.4 if is_value else 0.9, zorder=3)
    box = {"facecolor": "white", "edgecolor": "none", "alpha": 0.75, "pad": 0.6}
    for number, label in scale.ticks():
        height = scale.height(number)
        axes.plot([column, column + 0.03], [height, height], color=INK, lw=0.8, zorder=4)
        text = value_text(number).rstrip("0").rstrip(".") if is_value else label
        axes.text(column + 0.05, height, text, fontsize=7, va="center", color=INK, bbox=box, zorder=4)
    words = "\n".join(parts_of(title))
    axes.text(column, 1.07, words, ha="center", va="bottom", fontsize=8.5, fontweight="bold", color=INK)
