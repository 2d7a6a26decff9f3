"""What trials came to, as people read them: the best ones, short names of their parameters, values and times."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from astroclf.util.atomic import atomic_path

FINISHED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


def best_trials(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """The best trial (the earliest of equal ones), or, with several objectives, the Pareto front.

    The front is in the order of the first objective, the best first. Trials that are not complete, or whose values are
    not finite, are left out; the list is empty where none is left.
    """
    known = [trial for trial in trials if is_valued(trial)]
    if not known:
        return []
    signs = np.array([1.0 if direction == StudyDirection.MINIMIZE else -1.0 for direction in directions])
    losses = np.array([trial.values for trial in known]) * signs  # lower is better
    order = np.lexsort(losses.T[::-1])  # stable: the earliest of equal ones comes first
    if len(directions) == 1:
        return ranked(known, directions)[:1]
    return [known[i] for i in order if not ((losses <= losses[i]).all(1) & (losses < losses[i]).any(1)).any()]


def ranked(trials: Iterable[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    """Complete trials, the best by the first objective first, the earlier of equal ones before the later."""
    sign = 1.0 if directions[0] == StudyDirection.MINIMIZE else -1.0
    return sorted(filter(is_valued, trials), key=lambda trial: (sign * trial.values[0], trial.number))


def is_valued(trial: FrozenTrial) -> bool:
    """Whether a trial is complete, with finite values."""
    return trial.state == TrialState.COMPLETE and bool(np.isfinite(trial.values).all())


def last_value(trial: FrozenTrial) -> float | None:
    """The newest validation of a trial; None before the first, and with several objectives."""
    return trial.intermediate_values[max(trial.intermediate_values)] if trial.intermediate_values else None


def train_seconds(trial: FrozenTrial) -> float | None:
    """Seconds of training, the sum over interruptions where it was recorded; None of a trial that has not begun."""
    if "seconds" in trial.user_attrs:
        return float(trial.user_attrs["seconds"])
    return trial.duration.total_seconds() if trial.duration is not None else None


def param_keys(trials: Iterable[FrozenTrial]) -> list[str]:
    """Every key that some trial searched, each after the one it follows in its trial: ``loss``, then ``loss.gamma``."""
    keys: list[str] = []
    for trial in trials:
        place = 0
        for key in trial.params:
            if key not in keys:
                keys.insert(place, key)
            place = keys.index(key) + 1
    return keys


def varied_keys(trials: Iterable[FrozenTrial]) -> list[str]:
    """Of `param_keys`, those with more than one value: what is equal everywhere says nothing."""
    trials = list(trials)
    values: dict[str, set[str]] = {key: set() for key in param_keys(trials)}
    for trial in trials:
        for key, value in trial.params.items():
            values[key].add(str(value))
    return [key for key, different in values.items() if len(different) > 1]


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """For each dotted key its last part, or as many parts as it takes to tell it from the others."""
    parts = {key: key.lstrip("+").split(".") for key in keys}
    names = {}
    for key, own in parts.items():
        others = [other for name, other in parts.items() if name != key]
        length = 1
        while length < len(own) and any(own[-length:] == other[-length:] for other in others):
            length += 1
        names[key] = ".".join(own[-length:])
    return names


def parts_of(name: str) -> list[str]:
    """The words of a name, to be set in as many lines: ``weight_``, ``decay``."""
    return re.findall(r"[^_/]+[_/]?|[_/]+", name)


def param_text(value: Any) -> str:
    """A parameter's value: three digits of a float (four next to 1, for β), else as it stands on a command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, float) or not math.isfinite(value):
        return str(value)
    if 0 < abs(value) < 0.01:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}" if 0.99 < abs(value) < 1 else f"{value:.3g}"


def params_text(params: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """All parameters of a trial in one line: ``backbone=resnet18 lr=0.0003``."""
    return " ".join(f"{names[key]}={param_text(value)}" for key, value in params.items())


def value_text(value: float | None) -> str:
    """An objective's value with four digits, or a dash."""
    if value is None:
        return "–"
    if not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.3g}"


def validations_text(trial: FrozenTrial) -> str:
    """``3/10 validations``, as far as it is known."""
    planned, seen = trial.user_attrs.get("validations"), len(trial.intermediate_values)
    if planned:
        return f"{seen}/{planned} validations"
    return f"{seen} validation{'s' if seen > 1 else ''}" if seen else ""


def one_line(text: Any) -> str:
    """A reason, to stand in a line with other things."""
    return " ".join(str(text).split()).rstrip(".")


def clock(seconds: float | None) -> str:
    """``3:07`` minutes, ``2:03:07`` hours, or a dash."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def state_counts(trials: Iterable[FrozenTrial]) -> dict[str, int]:
    """How many trials are complete, pruned, failed, running, waiting."""
    counts = dict.fromkeys(STATE_NAMES.values(), 0)
    for trial in trials:
        counts[STATE_NAMES[trial.state]] += 1
    return counts


STATE_NAMES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def write_trials(path: str | Path, trials: Sequence[FrozenTrial], metrics: Sequence[str]) -> Path:
    """Write ``trials.csv``: one row per trial, with its objectives (a pruned one's is its last validation)."""
    keys = param_keys(trials)
    attrs = ("reason", "folder", "host")
    with atomic_path(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["trial", "state", *metrics, "validations", "seconds", "started", "ended", *keys, *attrs])
        for trial in trials:
            values = trial.values or [""] * len(metrics)
            times = [time.isoformat(sep=" ", timespec="seconds") if time else "" for time in _times(trial)]
            seconds = train_seconds(trial)
            writer.writerow(
                [
                    *(trial.number, STATE_NAMES[trial.state], *values, len(trial.intermediate_values)),
                    *("" if seconds is None else f"{seconds:.1f}", *times),
                    *("" if key not in trial.params else _plain(trial.params[key]) for key in keys),
                    *(trial.user_attrs.get(name, "") for name in attrs),
                ]
            )
    return Path(path)


def _times(trial: FrozenTrial) -> tuple[datetime | None, datetime | None]:
    return trial.datetime_start, trial.datetime_complete


def _plain(value: Any) -> Any:
    return param_text(value) if value is None or isinstance(value, bool) else value
