"""The end of a sweep: its best parameters as an experiment file, and what the terminal says last."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import OmegaConf
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from astroclf.config.compose import config_dir
from astroclf.errors import ConfigError
from astroclf.run.folder import resume_command, shown_path
from astroclf.sweep.view.trials import (
    best_trials,
    clock,
    one_line,
    param_keys,
    params_text,
    short_names,
    state_counts,
    train_seconds,
    value_text,
)
from astroclf.util.atomic import write_text

REASONS = 5  # failures that the summary names


def write_experiment(
    path: str | Path, overrides: Sequence[str], comment: str, config: Mapping[str, Any] | None = None
) -> Path:
    """Write overrides as a file for ``conf/experiment``: ``experiment=NAME`` then composes what they composed.

    What only steers a sweep (``hydra.*``, ``sweep=``) is left out. An experiment among the overrides is built upon.

    Parameters
    ----------
    overrides
        As on the command line: ``backbone=resnet18``, ``optimizer.lr=0.0003``, ``+key=value``.
    comment
        Lines that open the file.
    config
        The plain config that the overrides composed; needed only where one sets a single element of a list
        (``optimizer.betas.0=0.8``), which a yaml file can only hold whole.

    Raises
    ------
    ConfigError
        An override that takes a key away (``~key``), which no yaml file can do.
    """
    experiments: list[str] = []
    choices: list[dict[str, Any]] = []
    values = OmegaConf.create()
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key, value = override.key_or_group, override.value()
        if key.partition("/")[0].partition(".")[0] == "hydra" or key == "sweep":
            continue
        if key == "experiment":
            experiments = [str(name) for name in (value if isinstance(value, list) else [value])]
        elif (config_dir() / key).is_dir() and not isinstance(value, dict):
            choices.append(_choice(override))
        elif override.type == OverrideType.DEL:
            raise ConfigError(
                f"{override.input_line} cannot be kept in {Path(path).name}: an experiment file can set a key, but not "
                "take it away. Give the key a value instead, such as null."
            )
        else:
            place, value = _whole_lists(key, value, config)
            OmegaConf.update(values, place, value, merge=True, force_add=True)
    text = "# @package _global_\n" + "".join(f"# {line}\n" for line in comment.splitlines())
    if experiments or choices:
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": [*experiments, *choices]}))
    if values:
        text += OmegaConf.to_yaml(values)
    write_text(path, text)
    return Path(path)


def _choice(override: Override) -> dict[str, Any]:
    """An entry of a defaults list."""
    group = f"/{override.key_or_group}" + (f"@{override.package}" if override.package else "")
    is_new = override.type in (OverrideType.ADD, OverrideType.FORCE_ADD)
    return {group if is_new else f"override {group}": override.value()}


def _whole_lists(key: str, value: Any, config: Mapping[str, Any] | None) -> tuple[str, Any]:
    """A key and its value; of one that names an element of a list, the list and all its values."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    index = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    if index is None:
        return key, value
    place = ".".join(parts[:index])
    whole = OmegaConf.select(OmegaConf.create(dict(config or {})), place)
    if whole is None:
        raise ConfigError(f"{key} sets one element of a list; give the whole list, {place}=[...], instead.")
    return place, OmegaConf.to_container(whole) if OmegaConf.is_config(whole) else whole


def summary_text(
    study: Study,
    metrics: Sequence[str],
    *,
    experiment_command: str,
    chosen: FrozenTrial | None = None,
    places: Mapping[str, str] | None = None,
) -> str:
    """What a sweep came to, and what can be done with it; lines with commands are indented.

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
    lines = [f"Sweep {study.study_name}: {_counts(trials)}.", _cost(trials), *_failures(trials), ""]
    if chosen is None:
        lines.append("No trial was trained to its end: there are no best parameters.")
    elif len(metrics) > 1:
        lines += _front(best, metrics)
    if chosen is not None:
        is_best = len(metrics) == 1 and chosen.number == best[0].number
        lines += [f"{'Best' if is_best else 'Chosen'}: trial {chosen.number}, {_values(chosen, metrics)}"]
        lines += [f"  {shlex.quote(f'{key}={_exact(value)}')}" for key, value in chosen.params.items()]
        lines += ["", f"Train with the parameters of trial {chosen.number} again:", f"  {experiment_command}"]
        lines += _another(trials, chosen, study, metrics)
    width = max(map(len, places), default=0) if places else 0
    lines += ["", *(f"{label:<{width}}  {text}" for label, text in places.items())] if places else []
    return "\n".join(lines)


def _counts(trials: Sequence[FrozenTrial]) -> str:
    counts = {name: count for name, count in state_counts(trials).items() if count}
    total = f"{sum(counts.values())} trials" if len(trials) != 1 else "1 trial"
    return f"{total}, {', '.join(f'{count} {name}' for name, count in counts.items())}" if counts else "no trial"


def _cost(trials: Sequence[FrozenTrial]) -> str:
    """Training time in all, and the share of it that led nowhere."""
    spent: Counter[TrialState] = Counter()
    for trial in trials:
        spent[trial.state] += train_seconds(trial) or 0.0  # type: ignore[assignment]
    total = sum(spent.values())
    text = f"Training took {clock(total)} over all trials"
    wasted = {"pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
    shares = [f"{spent[state] / total:.0%} of it in {name} ones" for name, state in wasted.items() if spent[state]]
    return f"{text}, {' and '.join(shares)}." if shares else f"{text}."


def _failures(trials: Sequence[FrozenTrial]) -> list[str]:
    """Why trials failed, the most frequent reason first."""
    numbers: dict[str, list[int]] = {}
    for trial in trials:
        if trial.state == TrialState.FAIL:
            reason = one_line(trial.user_attrs.get("reason", "no reason is known"))
            numbers.setdefault(reason, []).append(trial.number)
    ordered = sorted(numbers.items(), key=lambda item: -len(item[1]))
    lines = [f"Failed: trial {', '.join(map(str, those))}: {reason}" for reason, those in ordered[:REASONS]]
    return [*lines, f"Failed: {len(ordered) - REASONS} other reasons"] if len(ordered) > REASONS else lines


def _front(best: Sequence[FrozenTrial], metrics: Sequence[str]) -> list[str]:
    names = short_names(param_keys(best))
    lines = [
        f"  trial {trial.number:<4} {_values(trial, metrics)}  {params_text(trial.params, names)}" for trial in best
    ]
    return ["Pareto front, the best in the first objective on top:", *lines, ""]


def _another(trials: Sequence[FrozenTrial], chosen: FrozenTrial, study: Study, metrics: Sequence[str]) -> list[str]:
    """How to test and register what did not win: the next best that still has its checkpoints here."""
    folders = {trial.number: Path(trial.user_attrs.get("folder", "")) for trial in trials}
    alive = {number for number, folder in folders.items() if (folder / "checkpoints" / "last.pt").is_file()}
    others = [trial for trial in trials if trial.number in alive - {chosen.number}]
    second = best_trials(others, study.directions)
    if not second:
        return []
    which = f"such as trial {second[0].number} ({_values(second[0], metrics)})"
    command = resume_command(shown_path(folders[second[0].number]))
    return ["", f"Test and register another trial, {which}:", f"  {command}"]


def _values(trial: FrozenTrial, metrics: Sequence[str]) -> str:
    return ", ".join(f"{metric} {value_text(value)}" for metric, value in zip(metrics, trial.values, strict=False))


def _exact(value: Any) -> str:
    """As it could be typed: all digits."""
    return str(value).lower() if isinstance(value, bool) else "null" if value is None else str(value)
