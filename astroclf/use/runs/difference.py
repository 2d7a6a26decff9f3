"""Two runs beside each other: what differs in their configurations, and in what they came to."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from astroclf.errors import AstroclfError
from astroclf.evaluation.compare import Difference, on_the_same_images, paired_bootstrap
from astroclf.evaluation.metrics import METRICS
from astroclf.run.report import NOT_COMPARED
from astroclf.tracking.recorded import RunRecord
from astroclf.use.runs.listing import run_values
from astroclf.use.runs.records import tested_predictions
from astroclf.util.terminal import Plain, plain
from astroclf.util.text import number

PAIRED = ("accuracy", "macro_f1")


@dataclass(frozen=True)
class RunDifference:
    """What sets two runs apart.

    Attributes
    ----------
    config
        The keys whose values differ: key, the first run's, the other's.
    figures
        Each metric of both: name, the first run's, the other's.
    paired
        The other minus the first on the same test images; empty where they cannot be paired.
    why_not
        Why they cannot; empty where they can.
    """

    one: RunRecord
    other: RunRecord
    config: list[tuple[str, str, str]]
    figures: list[tuple[str, float | None, float | None]]
    paired: list[Difference]
    why_not: str = ""


def compare_runs(one: RunRecord, other: RunRecord, uri: str | None) -> RunDifference:
    """Compare two runs; image by image, where both were tested on the same ones and their answers are kept."""
    keys = dict.fromkeys([*one.params, *other.params])
    config = [
        (key, one.params.get(key, ""), other.params.get(key, ""))
        for key in keys
        if one.params.get(key) != other.params.get(key) and not key.startswith(NOT_COMPARED)
    ]
    figures = [
        (name, one.metrics.get(name), other.metrics.get(name))
        for name in (*(f"test/{metric}" for metric in METRICS), "model/parameters", "run/seconds")
        if name in one.metrics or name in other.metrics
    ]
    try:
        first, second = on_the_same_images(tested_predictions(one, uri), tested_predictions(other, uri))
        paired = [paired_bootstrap(first, second, metric=metric) for metric in PAIRED]
    except AstroclfError as error:
        return RunDifference(one, other, config, figures, [], " ".join(str(error).split()))
    return RunDifference(one, other, config, figures, paired)


def show_difference(found: RunDifference, screen: Console) -> None:
    """Print a comparison: who is compared, what differs in the configurations, and the figures."""
    for letter, run in (("A", found.one), ("B", found.other)):
        screen.print(plain(f"{letter}  {run.name}  {run.id[:8]}  {run.dataset}", "bold"))
    screen.print()
    if found.config:
        screen.print(_two_columns("configuration", found.config))
    else:
        screen.print("The configurations are equal.")
    screen.print()
    figures = [(name, _figure(a), _figure(b)) for name, a, b in found.figures]
    screen.print(_two_columns("result", figures))
    screen.print()
    for line in paired_lines(found):
        screen.print(plain(line))


def paired_lines(found: RunDifference) -> Iterator[str]:
    """Yield what the comparison image by image says, a sentence a line."""
    if found.why_not:
        yield f"Not compared image by image: {found.why_not}"
        return
    for each in found.paired:
        label, level = METRICS[each.metric].label, f"{100 * each.interval:g} %"
        bounds = f"[{100 * each.low:+z.1f}, {100 * each.high:+z.1f}]"
        verdict = "more than chance" if each.low > 0 or each.high < 0 else "may be chance"
        yield f"{label}: B {100 * each.difference:+z.1f} points, {level} interval {bounds}: {verdict}."
    first = found.paired[0]
    yield (
        f"Of {first.images} test images only A got {first.only_champion} right, only B {first.only_challenger} "
        f"(exact McNemar test: p = {first.p_value:.2g})."
    )


def difference_values(found: RunDifference) -> dict[str, Any]:
    """Return a comparison for programs."""
    paired = {
        each.metric: {"difference": each.difference, "low": each.low, "high": each.high, "level": each.interval}
        for each in found.paired
    }
    discordant: dict[str, float] = {}
    if found.paired:
        first = found.paired[0]
        discordant = {"images": first.images, "only_one": first.only_champion, "only_other": first.only_challenger}
        discordant["mcnemar_p"] = first.p_value
    return {
        "one": run_values(found.one),
        "other": run_values(found.other),
        "config": {key: [a, b] for key, a, b in found.config},
        "figures": {name: [a, b] for name, a, b in found.figures},
        "paired": {**paired, **discordant},
        "not_paired_because": found.why_not,
    }


def difference_rows(found: RunDifference) -> list[dict[str, Any]]:
    """Return a comparison as the rows of a table: configuration, then figures."""
    rows: list[dict[str, Any]] = [{"what": "config", "name": key, "one": a, "other": b} for key, a, b in found.config]
    differences = {f"test/{each.metric}": each for each in found.paired}
    for name, a, b in found.figures:
        row = {"what": "figure", "name": name, "one": a, "other": b}
        if (each := differences.get(name)) is not None:
            row |= {"difference": each.difference, "low": each.low, "high": each.high}
        rows.append(row)
    return rows


def _figure(value: float | None) -> str:
    """Write a figure with four digits, a count or a time without any."""
    return f"{value:,.0f}" if value is not None and value >= 100 else number(value, 4)


def _two_columns(title: str, rows: list[tuple[str, str, str]]) -> Table:
    table = Table(pad_edge=False, box=None)
    table.add_column(title, overflow="fold", style="dim")
    table.add_column("A", overflow="fold")
    table.add_column("B", overflow="fold")
    for name, a, b in rows:
        table.add_row(Plain(name), Plain(a or "–"), Plain(b or "–"))
    return table
