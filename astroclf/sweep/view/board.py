"""What the terminal shows while a sweep runs: a live table of its trials, or a plain line for each that ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Self

from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from astroclf.sweep.view.trial_table import shown_rows, trial_table
from astroclf.sweep.view.trials import (
    FINISHED,
    STATE_NAMES,
    best_trials,
    clock,
    last_value,
    one_line,
    param_keys,
    param_text,
    params_text,
    short_names,
    state_counts,
    train_seconds,
    validations_text,
    value_text,
    varied_keys,
)
from astroclf.util.logs import log_to_file

log = logging.getLogger("astroclf")

LEAST_ROWS = 4  # even in a very low terminal


class Board:
    """Shows the trials of a study while it runs.

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
        self._console = console or Console()
        self._live: Live | None = None
        self._told: set[int] | None = None  # finished trials that were logged, or were there before
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
        finished = {trial.number: trial for trial in trials if trial.state in FINISHED}
        if self._told is not None:
            for number in sorted(finished.keys() - self._told):
                line = self.line(finished[number], trials)
                log.info("%s", line) if self._live is None else log_to_file(line)
        self._told = set(finished)

    def line(self, trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> str:
        """What a log says of a trial that ended."""
        names = short_names(param_keys(trials))
        done = sum(other.state in FINISHED for other in trials)
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
        """Until all trials have ended, if those to come take as long as the finished ones did; None without any."""
        known = [s for trial in trials if trial.state in FINISHED and (s := train_seconds(trial)) is not None]
        if not known:
            return None
        mean = sum(known) / len(known)  # of complete, pruned and failed ones, in the shares that they have
        running = [trial for trial in trials if trial.state == TrialState.RUNNING]
        done = sum(trial.state in FINISHED for trial in trials)
        pieces = [self._still_running(trial, mean) for trial in running]
        pieces += [mean] * max(0, self.n_trials - done - len(running))
        return max(sum(pieces) / max(self.workers, len(running), 1), *pieces, 0.0)

    def _still_running(self, trial: FrozenTrial, mean: float) -> float:
        """Seconds: by its own pace where its validations are known, else what is left of the mean."""
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
        """Seconds of training so far: what was recorded, and the time since then."""
        recorded, since = self._clocks.get(trial.number, (0.0, time.monotonic()))
        return recorded + time.monotonic() - since

    # ---- the table --------------------------------------------------------------------------------------------------

    def render(self, trials: Sequence[FrozenTrial]) -> RenderableType:
        """The live view: how far the sweep is, its trials, the best of them."""
        best = best_trials(trials, self.directions)
        names = short_names(param_keys(trials))
        footer = [*self._best_lines(best, names), *_last_failure(trials), self._hint()]
        room = self._console.height - 9 - sum(text.cell_len // self._console.width + 1 for text in footer)
        rows, hidden = shown_rows(trials, best, max(LEAST_ROWS, room))
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
        done = sum(trial.state in FINISHED for trial in trials)
        parts = [f"{counts[name]} {name}" for name in ("running", "complete", "pruned", "failed") if counts[name]]
        title = Text(f"Sweep {self.title}", style="bold")
        if done < self.n_trials:
            title.append(f"   time left {clock(self.seconds_left(trials))}", style="not bold")
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
        text.append(f", trial {best[0].number}: {params_text(best[0].params, names)}")
        return [text]

    def _hint(self) -> Text:
        return Text(f"(value): last validation so far. Ctrl-C stops cleanly; to go on: {self.command}", style="dim")


def _last_failure(trials: Sequence[FrozenTrial]) -> list[Text]:
    failed = [trial for trial in trials if trial.state == TrialState.FAIL and trial.user_attrs.get("reason")]
    if not failed:
        return []
    text = f"Trial {failed[-1].number} failed: {one_line(failed[-1].user_attrs['reason'])}"
    return [Text(text, style="red", no_wrap=True, overflow="ellipsis")]


def _cell(trial: FrozenTrial, key: str) -> str:
    return param_text(trial.params[key]) if key in trial.params else ""
