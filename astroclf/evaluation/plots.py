"""The figures of a test, one function each; every function writes a PNG and returns its path."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.selective import risk_coverage
from astroclf.evaluation.shift import Shift
from astroclf.util.figures import BLUE, GREEN, GREY, INK, ORANGE, class_labels, figure, shorten, show_image
from astroclf.util.fonts import drawable

RELIABILITY_BINS = 10
SHIFT_BINS = 30
WIDTH = 3.5  # inches of what says how far to trust a model: three figures stand beside each other on a page


def plot_confusion(predictions: Predictions, path: str | Path) -> Path:
    """Plot the confusion matrix: color is the share of the true class (rows sum to 1), the numbers are counts."""
    counts, size = predictions.confusion, len(predictions.classes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    names = class_labels(predictions.classes)
    side = 2.6 + 0.48 * size
    with figure(path, side + 0.9, side, layout="compressed") as axes:
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
        for row in range(size):
            for column in range(size):
                if counts[row, column]:
                    color = "white" if shares[row, column] > 0.55 else INK
                    share = f"\n{shares[row, column]:.0%}" if size <= 14 else ""
                    axes.text(
                        column,
                        row,
                        f"{counts[row, column]}{share}",
                        ha="center",
                        va="center",
                        color=color,
                        fontsize=6.5,
                    )
        axes.set_xticks(range(size), names, rotation=40, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(size), [f"{n}  ({t})" for n, t in zip(names, counts.sum(axis=1), strict=True)])
        axes.set_xlabel("predicted class")
        axes.set_ylabel("true class (images)")
        axes.set_xticks(np.arange(size + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(size + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.2)
        axes.tick_params(which="both", length=0)
        axes.spines[:].set_visible(False)
        bar = axes.figure.colorbar(image, ax=axes, fraction=0.04, pad=0.02)
        bar.set_label("share of the true class")
        bar.outline.set_visible(False)
    return Path(path)


def plot_reliability(predictions: Predictions, path: str | Path, before: Predictions | None = None) -> Path:
    """Plot accuracy against confidence, and the images in each bin: the reliability diagram of Guo et al. 2017.

    Parameters
    ----------
    before
        The same images before calibration, drawn beside where that changed anything.
    """
    edges = np.linspace(0, 1, RELIABILITY_BINS + 1)
    counts, confidence, right = _by_confidence(predictions, edges)
    filled = counts > 0
    low, high = _wilson(right, counts[filled])
    with figure(path, WIDTH, 5.0, rows=2, sharex=True, height_ratios=[3, 1]) as (axes, below):
        axes.plot([0, 1], [0, 1], color=GREY, lw=1, ls="--", label="perfectly calibrated")
        if before is not None and not np.array_equal(before.confidence, predictions.confidence):
            _, uncalibrated, accuracy = _by_confidence(before, edges)
            axes.plot(uncalibrated, accuracy, color=ORANGE, marker="o", ms=3, lw=1, label="before calibration")
        bars = [right - low, high - right]
        label = "this model (68 % interval)"
        axes.errorbar(confidence, right, yerr=bars, color=BLUE, marker="o", ms=4, lw=1.4, elinewidth=0.9, label=label)
        axes.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1), title="Reliability")
        axes.grid()
        axes.figure.legend(loc="outside lower center")  # within the axes it would lie over the curves
        below.bar((edges[:-1] + edges[1:]) / 2, counts, width=0.92 / RELIABILITY_BINS, color=BLUE, alpha=0.75)
        below.set(xlabel="confidence (highest probability)", ylabel="images")
    return Path(path)


def plot_shift(shift: Shift, path: str | Path) -> Path:
    """Plot the distribution of each statistic of two sets of images, the largest difference first."""
    columns = 4
    rows = math.ceil(len(shift.differences) / columns)
    with figure(path, 10.8, 2.1 * rows + 0.4, rows=rows, columns=columns, squeeze=False) as grid:
        for axes, difference in zip(grid.flat, shift.differences, strict=False):
            here, there = (side[difference.name] for side in shift.measured)
            # Single images far out would leave one bin for all others.
            low, high = np.percentile(np.concatenate([here, there]), (0.5, 99.5))
            edges = np.linspace(low, high if high > low else low + 1, SHIFT_BINS + 1)
            for values, color, label in ((there, GREY, shift.other), (here, BLUE, "these images")):
                counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
                axes.stairs(counts / max(1, len(values)), edges, color=color, fill=color == GREY, alpha=0.75, lw=1.4,
                            label=shorten(drawable(label)))  # fmt: skip
            label = textwrap.fill(difference.statistic.label, 34)
            axes.set_title(f"{label}\nKS {difference.distance:.2f}", fontsize=7.5)
            axes.set_yticks([])
        for axes in grid.flat[len(shift.differences) :]:
            axes.set_axis_off()
        grid[0, 0].figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return Path(path)


def plot_risk_coverage(predictions: Predictions, path: str | Path) -> Path:
    """Plot the share of wrong answers among the images that the model is surest of, against the share of these."""
    curve = risk_coverage(predictions.confidence, predictions.right)
    best = risk_coverage(predictions.right.astype(np.float64), predictions.right)
    area = curve.risk_N.mean()
    with figure(path, WIDTH, 3.2) as axes:
        axes.plot(best.coverage_N, best.risk_N, color=GREY, lw=1, ls="--", label="best order of these answers")
        axes.plot(curve.coverage_N, curve.risk_N, color=BLUE, label=f"this model, area (AURC) {area:.3f}")
        axes.set(xlabel="share of images answered, the surest first", ylabel="share of these that is wrong")
        axes.set(xlim=(0, 1), ylim=(0, None), title="Risk and coverage")
        axes.grid()
        axes.legend(loc="best")
    return Path(path)


def plot_class_accuracy(predictions: Predictions, path: str | Path) -> Path:
    """Plot the accuracy of each class with its 68 % interval, the best on top."""
    labels = dict(zip(predictions.classes, class_labels(predictions.classes), strict=True))
    rows = sorted((row for row in predictions.by_class() if row.images), key=lambda row: row.accuracy)
    accuracy = np.array([row.accuracy for row in rows])
    low, high = _wilson(accuracy, np.array([row.images for row in rows]))
    overall = predictions.right.mean() if len(predictions) else math.nan
    with figure(path, 5.2, 1.1 + 0.3 * len(rows)) as axes:
        axes.barh(range(len(rows)), accuracy, color=BLUE, alpha=0.85, height=0.66)
        axes.errorbar(
            accuracy, range(len(rows)), xerr=[accuracy - low, high - accuracy], fmt="none", ecolor=INK, elinewidth=0.9
        )
        axes.axvline(overall, color=ORANGE, lw=1.2, ls="--")
        axes.annotate(
            f"all {overall:.1%}",
            (overall, len(rows) - 0.4),
            color=ORANGE,
            fontsize=7.5,
            ha="center",
            va="bottom",
            annotation_clip=False,
        )
        for index, row in enumerate(rows):
            axes.text(1.02, index, f"{row.accuracy:.0%}  of {row.images}", va="center", fontsize=7.5, color=INK)
        axes.set_yticks(range(len(rows)), [labels[row.name] for row in rows])
        axes.set(xlim=(0, 1), ylim=(-0.6, len(rows) - 0.4), xlabel="accuracy (share of the class's images)")
        axes.grid(axis="x")
        axes.tick_params(axis="y", length=0)
    return Path(path)


def plot_uncertainty(predictions: Predictions, path: str | Path) -> Path:
    """Plot how uncertain the model is where it is right and where it is wrong: apart is good."""
    bins = np.linspace(0, 1, 26)
    with figure(path, WIDTH, 3.2) as axes:
        for chosen, name, color in ((predictions.right, "right", BLUE), (~predictions.right, "wrong", ORANGE)):
            if chosen.any():
                values = predictions.uncertainty[chosen]
                weights = np.full(len(values), 1 / len(values))
                axes.hist(values, bins, weights=weights, histtype="stepfilled", color=color, alpha=0.35)
                axes.hist(values, bins, weights=weights, histtype="step", color=color, lw=1.4,
                          label=f"{name} ({len(values)}), mean {values.mean():.2f}")  # fmt: skip
        axes.set(xlabel="uncertainty (probability of being wrong)", ylabel="share of images", xlim=(0, 1))
        axes.set_ylim(0, axes.get_ylim()[1] * 1.3)  # room for the legend
        axes.set_title("Uncertainty")
        axes.grid(axis="y")
        axes.legend(loc="upper right")
    return Path(path)


def plot_mistakes(
    predictions: Predictions, images_NHWC: np.ndarray | Sequence[np.ndarray], path: str | Path, count: int = 24
) -> Path:
    """Show the most confident mistakes; `images_NHWC` are uint8, in the order of `predictions`."""
    chosen = predictions.mistakes(count)
    columns = 6
    rows = max(1, math.ceil(len(chosen) / columns))
    labels = class_labels(predictions.classes, 20)
    with figure(path, 9.6, 2.0 * rows, rows=rows, columns=columns, squeeze=False) as grid:
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, index in zip(grid.flat, chosen, strict=False):
            said, truth = labels[predictions.predicted[index]], labels[predictions.truth[index]]
            title = f"{said} {predictions.confidence[index]:.0%}\nis {truth}"
            show_image(axes, np.asarray(images_NHWC[index]), title)
        if not len(chosen):
            grid[0, 0].text(0, 0.5, "no mistake", color=GREEN)
    return Path(path)


def plot_augmented(
    originals_NHWC: np.ndarray, augmented_NVHWC: np.ndarray, names: Sequence[str], path: str | Path
) -> Path:
    """Show N samples, uint8: each as it is stored (left), then V augmented versions as the network sees them."""
    count, versions = augmented_NVHWC.shape[:2]
    with figure(path, 1.25 * (versions + 1), 1.38 * count, rows=count, columns=versions + 1, squeeze=False) as grid:
        for row in range(count):
            show_image(grid[row, 0], originals_NHWC[row], shorten(names[row], 18), BLUE)
            for version in range(versions):
                show_image(
                    grid[row, version + 1], augmented_NVHWC[row, version], "augmented" if version + row == 0 else ""
                )
    return Path(path)


def _by_confidence(predictions: Predictions, edges: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the images in each bin of confidence, and of the bins that have some mean confidence and accuracy."""
    bins = len(edges) - 1
    which = np.clip(np.digitize(predictions.confidence, edges[1:-1]), 0, bins - 1)
    counts = np.bincount(which, minlength=bins)
    filled = counts > 0
    confidence = np.bincount(which, weights=predictions.confidence, minlength=bins)[filled] / counts[filled]
    right = np.bincount(which, weights=predictions.right, minlength=bins)[filled] / counts[filled]
    return counts, confidence, right


def _wilson(share: np.ndarray, counts: np.ndarray, z: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Compute Wilson's score interval of a share (68 % for z = 1), which is honest for few images too."""
    middle = (share + z**2 / (2 * counts)) / (1 + z**2 / counts)
    half = z / (1 + z**2 / counts) * np.sqrt(share * (1 - share) / counts + z**2 / (4 * counts**2))
    return np.minimum(share, np.maximum(0, middle - half)), np.maximum(share, np.minimum(1, middle + half))
