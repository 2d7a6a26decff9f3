"""The table of runs: filtered, sorted, and written for people or programs."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from astroclf.errors import ConfigError
from astroclf.evaluation.metrics import METRICS
from astroclf.settings.verbs.records import RunsConfig
from astroclf.tracking.recorded import RunRecord
from astroclf.util.terminal import Plain, plain
from astroclf.util.text import nearest, number

TIME_AT_THE_END = re.compile(r"[ _]\d{4}-\d\d-\d\d_\d\d-\d\d$")  # of a name that nobody gave: it stands beside


def chosen_runs(runs: Sequence[RunRecord], config: RunsConfig) -> list[RunRecord]:
    """Return the runs that the filters let through, in the order that was asked for, at most `config.limit`.

    Raises
    ------
    ConfigError
        A data set or a metric that no run has; the message names the nearest.
    """
    kept = [run for run in runs if config.trials or not run.parent]
    if config.data is not None:
        names = {run.dataset for run in kept}
        if kept and config.data not in names:
            raise ConfigError(f"No run has the data set {config.data!r}. {nearest(config.data, names)}")
        kept = [run for run in kept if run.dataset == config.data]
    if config.status is not None:
        kept = [run for run in kept if run.status == config.status]
    if config.sort != "began":
        kept = _by_metric(kept, config.sort)
    return kept[: config.limit]


def _by_metric(runs: Sequence[RunRecord], sort: str) -> list[RunRecord]:
    """Sort by a metric, the best first; runs without it come last."""
    known = {name for run in runs for name in run.metrics}
    name = next((full for full in (sort, f"test/{sort}", f"val/{sort}") if full in known), None)
    if name is None:
        if not known:
            return list(runs)
        raise ConfigError(f"sort={sort}: no run has a metric of that name. {nearest(sort, {*known, 'began'})}")
    metric = METRICS.get(name.partition("/")[2])
    sign = -1 if metric is None or metric.higher_is_better else 1

    def key(run: RunRecord) -> tuple[bool, float]:
        value = run.metrics.get(name, math.nan)
        return (True, 0.0) if math.isnan(value) else (False, sign * value)

    return sorted(runs, key=key)


def runs_table(runs: Sequence[RunRecord], title: str) -> Table:
    """Return the table of runs for the terminal."""
    table = Table(title=plain(title, "bold"), title_justify="left", box=None, padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True)
    table.add_column("began", no_wrap=True, style="dim")
    table.add_column("name", overflow="fold", ratio=3)
    table.add_column("data set", overflow="fold", ratio=1)
    table.add_column("accuracy", justify="right", no_wrap=True)
    table.add_column("95 %", justify="right", no_wrap=True, style="dim")
    table.add_column("F1", justify="right", no_wrap=True)
    for run in runs:
        bounds = [run.metrics.get(f"test/accuracy_{end}") for end in ("low", "high")]
        interval = "" if None in bounds else "–".join(number(bound, 2).removeprefix("0") for bound in bounds)
        name = TIME_AT_THE_END.sub("", run.name)
        table.add_row(
            Plain(run.id[:8] or "–"),
            "–" if run.began is None else f"{run.began:%m-%d %H:%M}",
            Plain(name if run.status == "finished" else f"{name} ({run.status})"),
            Plain(run.dataset),
            number(run.metrics.get("test/accuracy")),
            interval,
            number(run.metrics.get("test/macro_f1")),
        )
    return table


def run_values(run: RunRecord) -> dict[str, Any]:
    """Return what is written of a run for programs: what it was, and its metrics but those of single classes."""
    few = {name: value for name, value in sorted(run.metrics.items()) if name.count("/") == 1}
    return {
        "id": run.id,
        "name": run.name,
        "dataset": run.dataset,
        "status": run.status,
        "began": "" if run.began is None else run.began.isoformat(timespec="seconds"),
        "seconds": run.seconds,
        "folder": run.folder,
        "command": run.tags.get("command", ""),
        "sweep": run.parent,
        **{name: value if math.isfinite(value) else None for name, value in few.items()},
    }


def as_csv(rows: Sequence[dict[str, Any]]) -> str:
    """Write rows as CSV; a row has an empty field where it has no such value."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n", restval="")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def as_json(value: Any) -> str:
    """Write a value as JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def listing_text(runs: Sequence[RunRecord], form: str) -> str:
    """Write runs as CSV or JSON."""
    rows = [run_values(run) for run in runs]
    return as_csv(rows) if form == "csv" else as_json(rows)


def title(shown: int, total: int) -> str:
    """Say how many of the runs are shown."""
    runs = f"{total} run{'' if total == 1 else 's'}"
    return runs if shown == total else f"{shown} of {runs} (limit= shows more)"
