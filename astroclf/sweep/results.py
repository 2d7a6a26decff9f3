"""What the trials of a study came to: the best of them, whether all are done, their parameters and times."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from astroclf.sweep.space import as_text
from astroclf.util.atomic import atomic_path

STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
MIN_TRIALS_FOR_FAILURE_RATE = 5  # a share of fewer says little


def is_valued(trial: FrozenTrial) -> bool:
    """Return whether a trial is complete, with finite values."""
    return trial.state == TrialState.COMPLETE and bool(np.isfinite(trial.values).all())


def ranked(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Return the complete trials, the best by the first objective first, the earlier of equal ones before the later."""
    sign = 1.0 if directions[0] == StudyDirection.MINIMIZE else -1.0
    return sorted(filter(is_valued, trials), key=lambda trial: (sign * trial.values[0], trial.number))


def best_trials(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Return the best trial (the earliest of equal ones), or, with several objectives, the Pareto front.

    The front is in the order of the first objective, the best first. Trials that are not complete, or whose values are
    not finite, are left out; the list is empty where none is left.
    """
    known = [trial for trial in trials if is_valued(trial)]
    if len(directions) == 1 or not known:
        return ranked(known, directions)[:1]
    signs = np.array([1.0 if direction == StudyDirection.MINIMIZE else -1.0 for direction in directions])
    losses = np.array([trial.values for trial in known]) * signs  # lower is better
    order = np.lexsort(losses.T[::-1])  # stable: the earliest of equal ones comes first
    return [known[i] for i in order if not ((losses <= losses[i]).all(1) & (losses < losses[i]).any(1)).any()]


def distinct_trials(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Return one trial for each set of parameters, the best of those that had it, with the mean of their values.

    The seed is no parameter: trials that differ in nothing else measured the same.
    """
    groups: dict[Any, list[FrozenTrial]] = {}
    for trial in ranked(trials, directions):
        groups.setdefault(distinct_key(trial), []).append(trial)
    found = []
    for group in groups.values():
        one = copy(group[0])
        one.values = [mean(values) for values in zip(*(trial.values for trial in group), strict=True)]
        found.append(one)
    return found


def distinct_key(trial: FrozenTrial) -> frozenset[tuple[str, str]]:
    """Return what trials have in common that differ in their seed at most."""
    return param_identity({key: value for key, value in trial.params.items() if key.lstrip("+") != "seed"})


def param_identity(params: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """Return what is equal for equal parameters; a step's rounding in the last digit makes no other number."""
    return frozenset((key, f"{value:.12g}" if type(value) is float else repr(value)) for key, value in params.items())


def finished_count(trials: Iterable[FrozenTrial]) -> int:
    """Return how many trials have ended, in whatever way."""
    return sum(trial.state.is_finished() for trial in trials)


def all_finished(trials: Sequence[FrozenTrial], n_trials: int) -> bool:
    """Return whether nothing is left to do.

    Combinations that were planned beyond `n_trials`, before that was lowered, stay waiting.
    """
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    return len(begun) >= n_trials and all(trial.state.is_finished() for trial in begun)


def too_many_failures(trials: Sequence[FrozenTrial], rate: float) -> bool:
    """Return whether a larger share than `rate` of the finished trials (of five, while there are fewer) failed."""
    failed = sum(trial.state == TrialState.FAIL for trial in trials)
    return failed > rate * max(finished_count(trials), MIN_TRIALS_FOR_FAILURE_RATE)


def last_failure(trials: Iterable[FrozenTrial]) -> str:
    """Say why the last of the failed trials failed, and where its log is; nothing where none did."""
    failed = [trial for trial in trials if trial.state == TrialState.FAIL]
    if not failed:
        return ""
    number, known = failed[-1].number, failed[-1].user_attrs
    reason = f"The last to fail was trial {number}: {known.get('reason', 'no reason is known.')}"
    return f"{reason} Its log is in {known['folder']}." if "folder" in known else reason


def state_counts(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """Count the trials that are complete, pruned, failed, running, waiting."""
    counts = dict.fromkeys(STATE_NAMES.values(), 0)
    for trial in trials:
        counts[STATE_NAMES[trial.state]] += 1
    return counts


def last_value(trial: FrozenTrial) -> float | None:
    """Return the newest validation of a trial; None before the first, and with several objectives."""
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def train_seconds(trial: FrozenTrial) -> float | None:
    """Return a trial's seconds of training, summed over interruptions; None of one that has not begun.

    Where the training did not keep its time, it is the time between the trial's start and its end.
    """
    if "seconds" in trial.user_attrs:
        return float(trial.user_attrs["seconds"])
    return trial.duration.total_seconds() if trial.duration is not None else None


def param_keys(trials: Iterable[FrozenTrial]) -> list[str]:
    """List every key that some trial searched, each behind the one that it follows in its trial.

    ``loss.gamma``, which only some trials have, comes behind ``loss`` so.
    """
    keys: list[str] = []
    for trial in trials:
        place = 0
        for key in trial.params:
            if key not in keys:
                keys.insert(place, key)
            place = keys.index(key) + 1
    return keys


def varied_keys(trials: Iterable[FrozenTrial]) -> list[str]:
    """List those of `param_keys` that have more than one value: what is equal everywhere says nothing."""
    trials = list(trials)
    values: dict[str, set[str]] = {key: set() for key in param_keys(trials)}
    for trial in trials:
        for key, value in trial.params.items():
            values[key].add(str(value))
    return [key for key, different in values.items() if len(different) > 1]


def write_trials(path: str | Path, trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> Path:
    """Write ``trials.csv``: one row per trial, with its objectives (a pruned one's is its last validation)."""
    keys = param_keys(trials)
    attributes = ("reason", "folder", "host")
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", *metrics, "validations", "seconds", "started", "ended", *keys, *attributes])
        for trial in trials:
            values = trial.values or [""] * len(metrics)
            times = (trial.datetime_start, trial.datetime_complete)
            seconds = train_seconds(trial)
            writer.writerow(
                [
                    *(trial.number, STATE_NAMES[trial.state], *values, len(trial.intermediate_values)),
                    "" if seconds is None else f"{seconds:.1f}",
                    *("" if time is None else time.isoformat(sep=" ", timespec="seconds") for time in times),
                    *("" if key not in trial.params else as_text(trial.params[key]) for key in keys),
                    *(trial.user_attrs.get(name, "") for name in attributes),
                ]
            )
    return Path(path)
