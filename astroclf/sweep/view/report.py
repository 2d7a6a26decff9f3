"""``report.html`` of a sweep: the best trial, what sets it apart, and every trial with what came of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean

from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from astroclf.evaluation.report.of_run import PLOTS_FOLDER, charts_section
from astroclf.evaluation.report.page import Cell, Code, Column, Facts, Headline, Report, Section, Table
from astroclf.sweep.results import STATE_NAMES, best_trials, last_value, param_keys, state_counts, train_seconds
from astroclf.sweep.view.summary import cost_text, counts_text, failure_reasons
from astroclf.sweep.view.wording import param_text, short_names, value_text
from astroclf.util.text import clock

SHOWN_TRIALS = 2000  # the best; the others are in trials.csv
# The figures of `draw_plots` by the names of their files; those of slices, one an objective, are found by theirs.
PROGRESS = {
    "history": "Value of each trial, and the best so far",
    "pareto_front": "Each pair of objectives, and the Pareto front",
    "importance": "Share of each parameter in what sets the best trials apart",
}
PARAMETERS = {"parallel_coordinates": "Each trial as a line through its parameters to its value"}
TIMELINE = {"timeline": "When each trial ran"}


@dataclass(frozen=True)
class SweepStory:
    """What a report says of a sweep beside its trials.

    Attributes
    ----------
    command
        That goes on with it.
    repeat
        The command that trains again with the best parameters; empty where there are none.
    space
        What was searched, by key.
    defaults
        The value that each key has where it is not searched.
    places
        What came of it and where it lies, each under its label.
    finalists
        The values of each finalist over its seeds, by the number of its trial.
    """

    command: str
    repeat: str = ""
    space: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    finalists: Mapping[str, Sequence[float]] = field(default_factory=dict)


def sweep_report(
    study: Study, metrics: Sequence[str], folder: Path, story: SweepStory, chosen: FrozenTrial | None = None
) -> Report:
    """Make the report of a sweep from its study, and from the figures that were drawn into its folder.

    Parameters
    ----------
    metrics
        Names of the objectives, in the order of the study's directions.
    chosen
        The trial that won; None: there is none.
    """
    trials, directions = study.get_trials(deepcopy=False), study.directions
    plots = folder / PLOTS_FOLDER
    slices = {path.stem: "Value against each parameter" for path in sorted(plots.glob("slice*.png"))}
    sections: list[Section] = []
    if story.places:
        sections.append(Facts(title="What came of it", facts=story.places))
    if chosen is not None:
        sections.append(_best_section(chosen, story))
    if story.finalists:
        sections.append(_finalists_section(story.finalists, metrics[0], directions[0]))
    sections += charts_section(plots, PROGRESS, title="The search")
    sections += charts_section(plots, PARAMETERS | slices, title="What each parameter did")
    sections.append(_trials_section(trials, metrics, directions, folder))
    if reasons := failure_reasons(trials):
        columns = [Column("trials", numeric=False), Column("reason", numeric=False)]
        rows = [[Cell(", ".join(map(str, numbers))), Cell(reason)] for reason, numbers in reasons]
        sections.append(Table(title="Failed", columns=columns, rows=rows))
    sections += charts_section(plots, TIMELINE, title="When it ran")
    if story.space:
        sections.append(Facts(title="What was searched", facts=story.space))
    if story.repeat:
        sections.append(Code(title="To train with the best parameters again", code=story.repeat))
    sections.append(Code(title="To go on with the sweep", code=story.command))
    lead = f"{counts_text(trials)}. {cost_text(trials)}"
    title, figures = f"Sweep {study.study_name}", _headlines(trials, metrics, chosen)
    return Report(title, lead[0].upper() + lead[1:], figures, sections)


def _headlines(trials: Sequence[FrozenTrial], metrics: Sequence[str], chosen: FrozenTrial | None) -> list[Headline]:
    values = [] if chosen is None else list(zip(metrics, chosen.values, strict=True))
    best = [Headline(value_text(value), metric, (f"trial {chosen.number}",)) for metric, value in values if chosen]
    counts = {name: count for name, count in state_counts(trials).items() if count}
    others = [Headline(str(count), f"{name} trial{'' if count == 1 else 's'}") for name, count in counts.items()]
    return [*best, *others]


def _best_section(chosen: FrozenTrial, story: SweepStory) -> Table:
    rows = [
        [Cell(key), Cell(story.defaults.get(key.lstrip("+"), "–")), Cell(param_text(value))]
        for key, value in chosen.params.items()
    ]
    same = sum(before.text == now.text for _, before, now in rows)
    return Table(
        title=f"Its parameters beside the defaults, trial {chosen.number}",
        text=f"{same} of {len(rows)} are as they are without a search.",
        columns=[Column(name, numeric=False) for name in ("key", "without a search", f"trial {chosen.number}")],
        rows=rows,
    )


def _finalists_section(finalists: Mapping[str, Sequence[float]], metric: str, direction: StudyDirection) -> Table:
    sign = 1 if direction == StudyDirection.MINIMIZE else -1
    ordered = sorted(finalists.items(), key=lambda finalist: sign * mean(finalist[1]))
    rows = [
        [Cell(number), Cell(value_text(mean(values))), Cell(", ".join(map(value_text, values))), Cell(str(len(values)))]
        for number, values in ordered
    ]
    names = {"trial": True, f"mean {metric}": True, "of each seed": False, "seeds": True}
    return Table(
        title="Finalists",
        text="The best parameters, trained again with seeds that no trial had. Those other seeds decide who wins; the "
        "value that chose a finalist is the first.",
        columns=[Column(name, numeric) for name, numeric in names.items()],
        rows=rows,
    )


def _trials_section(
    trials: Sequence[FrozenTrial], metrics: Sequence[str], directions: Sequence[StudyDirection], folder: Path
) -> Table:
    """Return the table of the trials, the best first, each with a link to its folder where that lies below."""
    keys = param_keys(trials)
    names = short_names(keys)
    best = {trial.number for trial in best_trials(trials, directions)}
    sign = 1 if directions[0] == StudyDirection.MINIMIZE else -1

    def order(trial: FrozenTrial) -> tuple[bool, float]:
        valued = trial.state == TrialState.COMPLETE and trial.values[0] == trial.values[0]
        return not valued, sign * trial.values[0] if valued else trial.number

    shown = sorted(trials, key=order)[:SHOWN_TRIALS]
    rows = [
        [
            _number_cell(trial, folder, is_best=trial.number in best),
            Cell(STATE_NAMES[trial.state]),
            *_value_cells(trial, len(metrics)),
            _time_cell(trial),
            *(_param_cell(trial, key) for key in keys),
        ]
        for trial in shown
    ]
    numeric = [any(isinstance(trial.params.get(key), (int, float)) for trial in trials) for key in keys]
    columns = [Column("trial"), Column("state", numeric=False), *map(Column, metrics), Column("time")]
    columns += [Column(names[key], number) for key, number in zip(keys, numeric, strict=True)]
    text = "A value in brackets is the last validation of a trial that did not come to its end."
    if len(trials) > len(shown):
        text += f" These are the {len(shown)} best of {len(trials)}; plots/trials.csv has them all."
    return Table(title="Trials", text=text, columns=columns, rows=rows)


def _number_cell(trial: FrozenTrial, folder: Path, is_best: bool) -> Cell:
    place = Path(trial.user_attrs.get("folder", "")).absolute()
    below = place.is_relative_to(folder.absolute()) and place != folder.absolute()
    link = f"{place.relative_to(folder.absolute()).as_posix()}/" if below and "folder" in trial.user_attrs else ""
    return Cell(str(trial.number), note="best" if is_best else "", sort=trial.number, link=link)


def _value_cells(trial: FrozenTrial, count: int) -> list[Cell]:
    if trial.state == TrialState.COMPLETE:
        return [Cell(value_text(value), sort=value) for value in trial.values]
    last = last_value(trial)
    return [Cell("–" if last is None else f"({value_text(last)})", sort=last)] + [Cell("–")] * (count - 1)


def _time_cell(trial: FrozenTrial) -> Cell:
    seconds = train_seconds(trial)
    return Cell(clock(seconds), sort=seconds)


def _param_cell(trial: FrozenTrial, key: str) -> Cell:
    if key not in trial.params:
        return Cell("–")
    value = trial.params[key]
    return Cell(param_text(value), sort=value if isinstance(value, (int, float)) else None)
