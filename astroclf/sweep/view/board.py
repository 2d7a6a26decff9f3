"""What the terminal shows while a sweep runs: a live table of its trials, or a plain line for each that ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, JustifyMethod, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from astroclf.sweep.results import (
    STATE_NAMES,
    best_trials,
    finished_count,
    last_value,
    param_keys,
    state_counts,
    train_seconds,
    varied_keys,
)
from astroclf.sweep.view.wording import (
    one_line,
    param_text,
    params_text,
    parts_of,
    short_names,
    validations_text,
    value_text,
)
from astroclf.util import terminal
from astroclf.util.figures import shorten
from astroclf.util.logs import log, log_to_file
from astroclf.util.text import clock, roughly, until, visible

MIN_ROWS = 4  # even in a very low terminal
FINISHED_ROWS = 12  # the latest finished trials in the table, beside the best and all that run
COLUMN_GAP = 2  # characters between two columns
MIN_STATE_WIDTH = 13  # characters: "running 10/40"
NARROW_CELL_WIDTH = 9  # characters of a parameter's value where not all columns fit
STATE_COLORS = {
    TrialState.RUNNING: "cyan",
    TrialState.COMPLETE: "green",
    TrialState.PRUNED: "yellow",
    TrialState.FAIL: "red",
}
Cells = tuple[str, list[str]]  # a column: its title, and a text for each row


class Board:
    """The live view of a study's trials on a terminal, or their log lines where there is none.

    Parameters
    ----------
    title
        What is swept, such as the study's name.
    directions
        Of the study, one for each objective.
    n_trials
        Trials in all, over all starts of the sweep.
    workers
        Trials that run at the same time.
    metrics
        Names of the objectives, in the order of `directions`.
    command
        That goes on with the sweep after a stop.
    """

    def __init__(
        self,
        title: str,
        directions: Sequence[StudyDirection],
        n_trials: int,
        workers: int,
        metrics: Sequence[str],
        command: str,
        console: Console | None = None,
    ) -> None:
        self.title, self.directions, self.n_trials, self.workers = title, directions, n_trials, workers
        self.metrics, self.command = metrics, command
        self._console = console or terminal.console()
        self._live: Live | None = None
        self._told: set[int] | None = None  # finished trials that were logged, or were there before
        self._expected = False  # whether the log has heard how long it takes
        self._clocks: dict[int, tuple[float, float]] = {}  # of running trials: recorded seconds, and when they were new

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live = Live(console=self._console, auto_refresh=False)
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def update(self, trials: Sequence[FrozenTrial]) -> None:
        """Show the study's trials as they are now, and log those that ended since the last call."""
        self._keep_time(trials)
        if self._live is not None:
            self._live.update(self.render(trials), refresh=True)
        finished = {trial.number: trial for trial in trials if trial.state.is_finished()}
        if self._told is not None:
            for number in sorted(finished.keys() - self._told):
                line = self.line(finished[number], trials)
                log.info("%s", line) if self._live is None else log_to_file(line)
        self._told = set(finished)
        if not self._expected and (said := self.expected(trials)):
            self._expected = True
            log.info("%s", said) if self._live is None else log_to_file(said)

    def line(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> str:
        """Write the line that a log has for a trial that ended."""
        names = short_names(param_keys(trials))
        done = finished_count(trials)
        left, outcome = clock(self.seconds_left(trials)), STATE_NAMES[trial.state]
        if trial.state == TrialState.COMPLETE and trial.values:
            pairs = zip(self.metrics, trial.values, strict=False)
            outcome += ", " + ", ".join(f"{metric} {value_text(value)}" for metric, value in pairs)
            if any(best.number == trial.number for best in best_trials(trials, self.directions)):
                outcome += " (best so far)" if len(self.directions) == 1 else " (on the Pareto front)"
        elif trial.state == TrialState.PRUNED:
            outcome += f" after {validations_text(trial)} at {value_text(last_value(trial))}"
        elif reason := trial.user_attrs.get("reason"):
            outcome += f": {one_line(reason)}"
        return (
            f"Trial {trial.number} {outcome}; {clock(train_seconds(trial))}; {params_text(trial.params, names)}; "
            f"{done} of {self.n_trials} done" + (f", {left} left" if done < self.n_trials else "")
        )

    def seconds_left(self, trials: Sequence[FrozenTrial]) -> float | None:
        """Estimate when all trials have ended, if those to come take as long as the finished; None without any."""
        known = [s for trial in trials if trial.state.is_finished() and (s := train_seconds(trial)) is not None]
        if not known:
            return None
        mean = sum(known) / len(known)  # of complete, pruned and failed ones, in the shares that they have
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        done = finished_count(trials)
        pieces = [self._still_running(trial, mean) for trial in running]
        pieces += [mean] * max(0, self.n_trials - done - len(running))
        return max(sum(pieces) / max(self.workers, len(running), 1), *pieces, 0.0)

    def expected(self, trials: Sequence[FrozenTrial]) -> str:
        """Write how long a trial takes, and when the last will end; nothing before one has, or after the last."""
        left, to_do = self.seconds_left(trials), self.n_trials - finished_count(trials)
        known = [s for trial in trials if trial.state.is_finished() and (s := train_seconds(trial)) is not None]
        if left is None or to_do <= 0:
            return ""
        return (
            f"A trial takes about {roughly(sum(known) / len(known))}: {to_do} are left with {self.workers} "
            f"worker{'s' if self.workers > 1 else ''}, until about {until(left)}."
        )

    def _still_running(self, trial: FrozenTrial, mean: float) -> float:
        """Estimate the seconds left of a running trial: by its own pace if that is known, else by the mean."""
        elapsed, seen = self._elapsed(trial), len(trial.intermediate_values)
        planned = trial.user_attrs.get("validations")
        own = elapsed * (planned - seen) / seen if planned and seen else mean - elapsed
        return max(0.0, min(own, mean))  # it may be pruned before its end, as others were

    def _keep_time(self, trials: Sequence[FrozenTrial]) -> None:
        for trial in trials:
            recorded = float(trial.user_attrs.get("seconds", 0.0))
            if trial.state == TrialState.RUNNING and self._clocks.get(trial.number, (-1.0,))[0] != recorded:
                self._clocks[trial.number] = recorded, time.monotonic()

    def _elapsed(self, trial: FrozenTrial) -> float:
        """Return a running trial's seconds of training so far: what was recorded, and the time since then."""
        recorded, since = self._clocks.get(trial.number, (0.0, time.monotonic()))
        return recorded + time.monotonic() - since

    # ---- the table --------------------------------------------------------------------------------------------------

    def render(self, trials: Sequence[FrozenTrial]) -> RenderableType:
        """Lay out the live view: how far the sweep is, its trials, the best of them."""
        best = best_trials(trials, self.directions)
        names = short_names(param_keys(trials))
        footer = [*self._best_lines(best, names), *_last_failure(trials), self._hint()]
        room = self._console.height - 9 - sum(text.cell_len // self._console.width + 1 for text in footer)
        rows, hidden = shown_rows(trials, best, max(MIN_ROWS, room))
        params = [(names[key], [_cell(trial, key) for trial in rows]) for key in varied_keys(trials) or names]
        times = [clock(self._time(trial)) for trial in rows]
        table, left_out = trial_table(rows, best, self.metrics, params, times, self._console.width)
        notes = [f"{hidden} more trials"] if hidden else []
        notes += [f"{', '.join(left_out)} (widen the terminal)"] if left_out else []
        if notes:
            footer.insert(0, Text(f"Not shown: {'; '.join(notes)}", style="dim"))
        return Group(*self._header(trials), table, *footer)

    def _header(self, trials: Sequence[FrozenTrial]) -> list[RenderableType]:
        counts = state_counts(trials)
        done = finished_count(trials)
        parts = [f"{counts[name]} {name}" for name in ("running", "complete", "pruned", "failed") if counts[name]]
        title = terminal.plain(f"Sweep {self.title}", "bold")
        if done < self.n_trials:
            left = self.seconds_left(trials)
            title.append(f"   time left {clock(left)}", style="not bold")
            end = Text(f", until about {until(left)}" if left is not None else "", "not bold")
            if title.cell_len + end.cell_len <= self._console.width:  # near midnight it has a date
                title.append_text(end)
        line = Table.grid(padding=(0, 2, 0, 0))
        bar = ProgressBar(total=max(self.n_trials, 1), completed=done, width=20)
        line.add_row(Text(f"{done}/{self.n_trials}"), bar, Text(", ".join(parts)))
        return [title, line]

    def _time(self, trial: FrozenTrial) -> float | None:
        return self._elapsed(trial) if trial.state == TrialState.RUNNING else train_seconds(trial)

    def _best_lines(self, best: Sequence[FrozenTrial], names: dict[str, str]) -> list[Text]:
        if len(self.directions) > 1:
            numbers = ", ".join(str(trial.number) for trial in best) or "–"
            return [Text(f"Pareto front: trials {numbers}")]
        if not best:
            return [Text(f"Best {self.metrics[0]}: –")]
        text = Text("Best ")
        text.append(f"{self.metrics[0]} {value_text(best[0].values[0])}", style="bold")
        text.append(visible(f", trial {best[0].number}: {params_text(best[0].params, names)}"))
        return [text]

    def _hint(self) -> Text:
        hint = f"(value): last validation so far. Ctrl-C stops cleanly; to go on: {self.command}"
        return terminal.plain(hint, "dim")


def _last_failure(trials: Sequence[FrozenTrial]) -> list[Text]:
    failed = [trial for trial in trials if trial.state == TrialState.FAIL and trial.user_attrs.get("reason")]
    if not failed:
        return []
    text = f"Trial {failed[-1].number} failed: {one_line(failed[-1].user_attrs['reason'])}"
    return [Text(visible(text), style="red", no_wrap=True, overflow="ellipsis")]


def _cell(trial: FrozenTrial, key: str) -> str:
    return param_text(trial.params[key]) if key in trial.params else ""


def shown_rows(trials: Sequence[FrozenTrial], best: Sequence[FrozenTrial], most: int) -> tuple[list[FrozenTrial], int]:
    """Choose running trials, the best and the latest finished, at most `most`; also count the others that began."""
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
    """Lay out the table of these trials, and name the parameters that `width` characters have no room for."""
    front = {trial.number for trial in best}
    values = [_values(trial, len(metrics)) for trial in rows]
    objectives = [(metric, [row[place] for row in values]) for place, metric in enumerate(metrics)]
    hosts = len({trial.user_attrs.get("host") for trial in rows})
    best_name = "best" if len(metrics) == 1 else "Pareto front"
    states = [best_name if trial.number in front else _state(trial, hosts) for trial in rows]
    numbers, time = ("trial", [str(trial.number) for trial in rows]), ("time", list(times))
    taken = sum(_width(column) + COLUMN_GAP for column in (numbers, *objectives, time)) + MIN_STATE_WIDTH
    shown, room = _that_fit(params, width - taken)
    table = Table(
        _column(numbers, "right"),
        *(_column(column, "left") for column in shown),
        *(_column(column, "right") for column in objectives),
        Column(
            "state",
            no_wrap=True,
            overflow="ellipsis",
            width=min(max([MIN_STATE_WIDTH, *map(len, states)]), MIN_STATE_WIDTH + room),
        ),
        _column(time, "right"),
        box=SIMPLE_HEAD,
        padding=(0, COLUMN_GAP - 1, 0, 0),  # and a character between columns, from the box
        pad_edge=False,
        show_edge=False,
    )
    for index, trial in enumerate(rows):
        before = [cells[index] for _, cells in (numbers, *shown, *objectives)]
        state = terminal.plain(states[index], STATE_COLORS.get(trial.state, ""))
        table.add_row(
            *map(terminal.Plain, before), state, Text(times[index]), style="bold" if trial.number in front else ""
        )
    there = {name for name, _ in shown}
    return table, [name for name, _ in params if name not in there]


def _values(trial: FrozenTrial, objectives: int) -> list[str]:
    """Write the objectives of a complete trial, or in brackets the last validation of another."""
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
    """Choose the columns that have room, and count the characters left over.

    All of them whole, or else with long cells cut; those that most rows fill go before those of few.
    """
    if sum(_width(column) + COLUMN_GAP for column in columns) > room:
        columns = [(name, [shorten(cell, NARROW_CELL_WIDTH) for cell in cells]) for name, cells in columns]
    fitting = []
    for column in sorted(columns, key=lambda column: column[1].count("")):
        if _width(column) + COLUMN_GAP <= room:
            fitting.append(column)
            room -= _width(column) + COLUMN_GAP
    return [column for column in columns if column in fitting], max(room, 0)


def _width(column: Cells) -> int:
    title, cells = column
    return max(map(cell_len, [*parts_of(title), *cells]))


def _column(column: Cells, side: JustifyMethod) -> Column:
    title = "\n".join(parts_of(column[0]))  # words in lines of their own: columns of numbers are narrow
    return Column(Text(title), justify=side, vertical="bottom", width=_width(column), no_wrap=True)
