"""What the terminal says at the end of a sweep: what came out, what it cost, and how to go on."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from astroclf.run.folder import resume_command, shown_path
from astroclf.sweep.results import best_trials, param_keys, state_counts, train_seconds
from astroclf.sweep.space import as_text
from astroclf.sweep.view.wording import one_line, params_text, short_names, value_text
from astroclf.util.text import clock

MAX_LISTED_REASONS = 5  # of failed trials


def summary_text(
    study: Study,
    metrics: Sequence[str],
    *,
    experiment_command: str,
    chosen: FrozenTrial | None = None,
    places: Mapping[str, str] | None = None,
) -> str:
    """Write what a sweep came to, and what can be done with it; lines with commands are indented.

    Parameters
    ----------
    metrics
        Names of the objectives, in the order of the study's directions.
    experiment_command
        That trains again with the parameters of `chosen`.
    chosen
        The trial that won; None: the best, by the first of several objectives.
    places
        What to look at, each under its label: ``{"Plots": "...", "MLflow": "..."}``.
    """
    trials = study.get_trials(deepcopy=False)
    best = best_trials(trials, study.directions)
    chosen = chosen or (best[0] if best else None)
    lines = [f"Sweep {study.study_name}: {counts_text(trials)}.", cost_text(trials), *_failures(trials), ""]
    if chosen is None:
        lines.append("No trial was trained to its end: there are no best parameters.")
    elif len(metrics) > 1:
        lines += _front(best, metrics)
    if chosen is not None:
        is_best = len(metrics) == 1 and chosen.number == best[0].number
        lines += [f"{'Best' if is_best else 'Chosen'}: trial {chosen.number}, {values_text(chosen, metrics)}"]
        lines += [f"  {shlex.quote(f'{key}={as_text(value)}')}" for key, value in chosen.params.items()]
        lines += ["", f"Train with the parameters of trial {chosen.number} again:", f"  {experiment_command}"]
        lines += _another(trials, chosen, study, metrics)
    width = max(map(len, places), default=0) if places else 0
    lines += ["", *(f"{label:<{width}}  {text}" for label, text in places.items())] if places else []
    return "\n".join(lines)


def counts_text(trials: Sequence[FrozenTrial]) -> str:
    """Write how many trials there are, and how many of each state."""
    counts = {name: count for name, count in state_counts(trials).items() if count}
    total = f"{sum(counts.values())} trials" if len(trials) != 1 else "1 trial"
    return f"{total}, {', '.join(f'{count} {name}' for name, count in counts.items())}" if counts else "no trial"


def cost_text(trials: Sequence[FrozenTrial]) -> str:
    """Write the training time in all, and the share of it that led nowhere."""
    spent: Counter[TrialState] = Counter()
    for trial in trials:
        spent[trial.state] += train_seconds(trial) or 0.0  # type: ignore[assignment]
    total = sum(spent.values())
    text = f"Training took {clock(total)} over all trials"
    wasted = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    shares = [f"{spent[state] / total:.0%} of it in {name} ones" for name, state in wasted.items() if spent[state]]
    return f"{text}, {' and '.join(shares)}." if shares else f"{text}."


def failure_reasons(trials: Sequence[FrozenTrial]) -> list[tuple[str, list[int]]]:
    """List why trials failed, each reason with the numbers of its trials, the most frequent first."""
    numbers: dict[str, list[int]] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL:
            reason = one_line(trial.user_attrs.get("reason", "no reason is known"))
            numbers.setdefault(reason, []).append(trial.number)
    return sorted(numbers.items(), key=lambda item: -len(item[1]))


def _failures(trials: Sequence[FrozenTrial]) -> list[str]:
    ordered = failure_reasons(trials)
    lines = [f"Failed: trial {', '.join(map(str, those))}: {reason}" for reason, those in ordered[:MAX_LISTED_REASONS]]
    more = len(ordered) - MAX_LISTED_REASONS
    return [*lines, f"Failed: {more} other reasons"] if more > 0 else lines


def _front(best: Sequence[FrozenTrial], metrics: Sequence[str]) -> list[str]:
    names = short_names(param_keys(best))
    lines = [
        f"  trial {trial.number:<4} {values_text(trial, metrics)}  {params_text(trial.params, names)}" for trial in best
    ]
    return ["Pareto front, the best in the first objective on top:", *lines, ""]


def _another(trials: Sequence[FrozenTrial], chosen: FrozenTrial, study: Study, metrics: Sequence[str]) -> list[str]:
    """Tell how to test and register what did not win: the next best that still has its checkpoints here."""
    folders = {trial.number: Path(trial.user_attrs.get("folder", "")) for trial in trials}
    alive = {number for number, folder in folders.items() if (folder / "checkpoints" / "last.pt").is_file()}
    others = [trial for trial in trials if trial.number in alive - {chosen.number}]
    second = best_trials(others, study.directions)
    if not second:
        return []
    which = f"such as trial {second[0].number} ({values_text(second[0], metrics)})"
    command = resume_command(shown_path(folders[second[0].number]))
    return ["", f"Test and register another trial, {which}:", f"  {command}"]


def values_text(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    """Write the objectives of a trial, each after its name."""
    return ", ".join(f"{metric} {value_text(value)}" for metric, value in zip(metrics, trial.values, strict=False))
