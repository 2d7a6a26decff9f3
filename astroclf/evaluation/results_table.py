"""What a test came to, as the terminal shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from astroclf.evaluation.intervals import LEVEL, baselines, share_interval
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.predictions import Predictions
from astroclf.util.terminal import Plain, plain
from astroclf.util.text import number


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
        table.add_row(metric.label, number(metrics.get(f"test/{metric.name}")), interval_text(metrics, metric.name))
        if f"test/{metric.name}_raw" in metrics:
            table.add_row("  before calibration", number(metrics[f"test/{metric.name}_raw"]), style="dim")
        if metric.name == "accuracy":
            table.add_row("  by guessing each class equally often", number(blind.chance), style="dim")
            table.add_row(Plain(f"  by always saying {blind.majority_class}"), number(blind.majority), style="dim")
    wrong = int((~predictions.right).sum())
    for name, label, count in (
        ("mean_uncertainty_right", "mean uncertainty where right", len(predictions) - wrong),
        ("mean_uncertainty_wrong", "mean uncertainty where wrong", wrong),
    ):
        table.add_row(label, number(metrics.get(f"test/{name}")), "", str(count))
    if predictions.sets is not None:
        table.add_row("share with the true class in its prediction set", number(metrics.get("test/coverage")))
        table.add_row("classes in a prediction set, on average", number(metrics.get("test/set_size")))
    table.add_section()
    for entry in predictions.by_class():
        interval = " – ".join(map(number, share_interval(entry.right, entry.images))) if entry.images else ""
        table.add_row(Plain(entry.name), number(entry.accuracy), interval, f"{entry.right} of {entry.images}")
    return table


def interval_text(metrics: Mapping[str, Any], name: str) -> str:
    """Write the interval of a test figure, ``0.641 – 0.763``; nothing where it has none."""
    bounds = [metrics.get(f"test/{name}_{end}") for end in ("low", "high")]
    return "" if None in bounds else " – ".join(map(number, bounds))
