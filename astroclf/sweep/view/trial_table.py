"""The live table of a sweep: which trials it shows, and the columns that a terminal has room for."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE_HEAD
from rich.console import JustifyMethod
from rich.table import Column, Table
from rich.text import Text

from astroclf.sweep.view.trials import STATE_NAMES, last_value, one_line, parts_of, validations_text, value_text
from astroclf.util.figures import shorten

FINISHED_ROWS = 12  # the latest finished trials in the table, beside the best and all that run
GAP = 2  # characters between two columns
LEAST_STATE = 13  # characters: "running 10/40"
NARROW_CELL = 9  # characters of a parameter's value where not all columns fit
COLORS = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAIL: "red",
}
Cells = tuple[str, list[str]]  # a column: its title, and a text for each row


def shown_rows(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial], most: int) -> tuple[list[FrozenTrial], int]:
    """Running trials, the best and the latest finished ones, at most `most`; and how many others have begun."""
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    running = [trial for trial in begun if trial.state == TrialState.RUNNING]
    finished = [trial for trial in begun if trial.state != TrialState.RUNNING]
    finished.sort(key=lambda trial: (trial.datetime_complete is not None, trial.datetime_complete, trial.number))
    chosen = {trial.number: trial for trial in [*best[:1], *running][:most]}
    room = min(FINISHED_ROWS, most - len(chosen))
    for trial in reversed([*finished, *best[1:]]):
        if room > 0 and trial.number not in chosen:
            chosen[trial.number] = trial
            room -= 1
    return sorted(chosen.values(), key=lambda trial: trial.number), len(begun) - len(chosen)


def trial_table(
    rows: Sequence[FrozenTrial],
    best: Sequence[FrozenTrial],
    metrics: Sequence[str],
    params: Sequence[Cells],
    times: Sequence[str],
    width: int,
) -> tuple[Table, list[str]]:
    """The table of these trials, and the names of the parameters that `width` characters have no room for."""
    front = {trial.number for trial in best}
    values = [_values(trial, len(metrics)) for trial in rows]
    objectives = [(metric, [row[place] for row in values]) for place, metric in enumerate(metrics)]
    hosts = len({trial.user_attrs.get("host") for trial in rows})
    best_name = "best" if len(metrics) == 1 else "Pareto front"
    states = [best_name if trial.number in front else _state(trial, hosts) for trial in rows]
    numbers, time = ("trial", [str(trial.number) for trial in rows]), ("time", list(times))
    taken = sum(_width(column) + GAP for column in (numbers, *objectives, time)) + LEAST_STATE
    shown, room = _that_fit(params, width - taken)
    table = Table(
        _column(numbers, "right"),
        *(_column(column, "left") for column in shown),
        *(_column(column, "right") for column in objectives),
        Column(
            "state",
            no_wrap=True,
            overflow="ellipsis",
            width=min(max([LEAST_STATE, *map(len, states)]), LEAST_STATE + room),
        ),
        _column(time, "right"),
        box=SIMPLE_HEAD,
        padding=(0, GAP - 1, 0, 0),  # and a character between columns, from the box
        pad_edge=False,
        show_edge=False,
    )
    for index, trial in enumerate(rows):
        before = [cells[index] for _, cells in (numbers, *shown, *objectives)]
        state = Text(states[index], style=COLORS.get(trial.state, ""))
        table.add_row(*map(Text, before), state, Text(times[index]), style="bold" if trial.number in front else "")
    there = {name for name, _ in shown}
    return table, [name for name, _ in params if name not in there]


def _values(trial: FrozenTrial, objectives: int) -> list[str]:
    """The objectives of a complete trial; in brackets the last validation of another."""
    if trial.state == TrialState.COMPLETE and trial.values:
        return [value_text(value) for value in trial.values]
    last = last_value(trial)
    return ["–" if last is None else f"({value_text(last)})", *["–"] * (objectives - 1)]


def _state(trial: FrozenTrial, hosts: int) -> str:
    name = STATE_NAMES[trial.state]
    if trial.state == TrialState.COMPLETE:
        return name
    if trial.state == TrialState.FAIL:
        reason = one_line(trial.user_attrs.get("reason", ""))
        return f"{name}: {reason}" if reason else name
    where = f"on {trial.user_attrs.get('host')}" if hosts > 1 else ""
    return " ".join(filter(None, (name, validations_text(trial), where)))


def _that_fit(columns: Sequence[Cells], room: int) -> tuple[list[Cells], int]:
    """The columns that have room, and the characters left over.

    All of them whole, or else with long cells cut; those that most rows fill go before those of few.
    """
    if sum(_width(column) + GAP for column in columns) > room:
        columns = [(name, [shorten(cell, NARROW_CELL) for cell in cells]) for name, cells in columns]
    fitting = []
    for column in sorted(columns, key=lambda column: column[1].count("")):
        if _width(column) + GAP <= room:
            fitting.append(column)
            room -= _width(column) + GAP
    return [column for column in columns if column in fitting], max(room, 0)


def _width(column: Cells) -> int:
    title, cells = column
    return max(map(len, [*parts_of(title), *cells]))


def _column(column: Cells, side: JustifyMethod) -> Column:
    title = "\n".join(parts_of(column[0]))  # words in lines of their own: columns of numbers are narrow
    return Column(title, justify=side, vertical="bottom", width=_width(column), no_wrap=True)
