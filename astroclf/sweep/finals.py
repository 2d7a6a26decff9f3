"""The end of a sweep: finalists over seeds, one test of the winner, its registration, what is said of it."""

from __future__ import annotations

import math
import socket
from collections import defaultdict
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from optuna.trial import FrozenTrial, TrialState

from astroclf.errors import SweepError
from astroclf.evaluation.metrics import METRICS
from astroclf.evaluation.report.page import write_report
from astroclf.run.folder import resume_command, shown_path
from astroclf.settings.sweep import SweepSettings
from astroclf.sweep.claim import lies_here
from astroclf.sweep.experiment_file import write_experiment
from astroclf.sweep.plan import SweepPlan
from astroclf.sweep.pool import WorkerPool
from astroclf.sweep.results import (
    best_trials,
    distinct_key,
    distinct_trials,
    last_failure,
    ranked,
    state_counts,
)
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.trial import FINALIST_TAG
from astroclf.sweep.view.plots import draw_plots
from astroclf.sweep.view.report import SweepStory, sweep_report
from astroclf.sweep.view.summary import summary_text
from astroclf.tracking.tracker import Tracker
from astroclf.util.logs import log


class Finals:
    """The last part of a sweep, once all trials are finished; of processes that share its folder, one at a time.

    Parameters
    ----------
    study, plan
        What was searched, and what came of it.
    settings
        With `finalists` and `finalist_seeds`.
    """

    def __init__(self, study: SharedStudy, plan: SweepPlan, settings: SweepSettings) -> None:
        self.study, self.plan, self.settings = study, plan, settings

    def run(self, pool: WorkerPool, tracker: Tracker) -> None:
        """Choose the winner, test and register it, draw the plots, and say how to go on.

        Raises
        ------
        SweepError
            Last of all: there is no winner, or it could not be tested or registered.
        """
        with FileLock(self.plan.folder / ".finals.lock"):
            winner, folder = self._winner(pool)
            metrics: dict[str, Any] = {}
            if winner is not None and folder is not None:
                metrics, trouble = self._test(pool, winner, folder)
                metrics["run/folder"] = str(folder)
            else:
                trouble = self._nothing_won()
            tracker.log_artifacts(self._plots())
            tracker.set_tags(self._tags(winner, metrics))
            places = self._places(winner, metrics, tracker)
            tracker.log_artifact(self._report(winner, places))
            self._show(winner, {**places, "Report of the sweep": str(shown_path(self._report_file))})
        if trouble:
            raise SweepError(trouble)

    def _nothing_won(self) -> str:
        """Say that no trial can win, and why."""
        trials = self.study.trials()
        counts = ", ".join(f"{count} {state}" for state, count in state_counts(trials).items() if count)
        failure = last_failure(trials)
        remedy = "Mend the cause and begin a new study." if failure else "Let trials go on: hydra/sweeper/pruner=none."
        return (
            f"No trial of the sweep {self.plan.name} came to its end with a finite value ({counts}): nothing was "
            f"tested or registered. {' '.join((failure, remedy)).strip()}"
        )

    def _test(self, pool: WorkerPool, winner: FrozenTrial, folder: Path) -> tuple[dict[str, Any], str]:
        """Test and register the winner; return its metrics, and what kept it from that."""
        if not self._is_here(folder):
            missing = (
                f"The best, trial {winner.number}, has no checkpoint that this host ({socket.gethostname()}) can read, "
                f"and was not tested. Where it has one, test and register it with:\n  {resume_command(folder)}"
            )
            if winner.user_attrs.get("host") != socket.gethostname():  # that host's own command does it
                log.warning("%s", missing)
                return {}, ""
            return {}, f"{missing}\nIf it is gone, train with the same parameters again:\n  {self._repeat()}"
        log.info("Testing the best: %s", shown_path(folder))
        try:
            (metrics,) = pool.run([("test", str(folder))])
        except SweepError as error:
            return {}, (
                f"The best, trial {winner.number}, was trained, but could not be tested and registered to the end. "
                f"{error} Go on with:\n  {resume_command(shown_path(folder))}"
            )
        return dict(metrics), ""

    def _winner(self, pool: WorkerPool) -> tuple[FrozenTrial | None, Path | None]:
        """Choose the trial that wins, and the folder of its run that is to be tested."""
        best = self.study.best()
        if best is None:
            return None, None
        if not self.settings.finalists:
            return best, Path(best.user_attrs["folder"])
        finalists, seeds = self._finalists(), self._seeds()
        jobs = [(trial, seed) for trial in finalists for seed in seeds]
        found = pool.run(("train", *self._again(trial, seed)) for trial, seed in jobs)
        metric, sign = self.plan.objectives[0], self._sign()
        known, others = {trial.number: self._known(trial) for trial in finalists}, defaultdict(list)
        for (trial, seed), metrics in zip(jobs, found, strict=True):
            value, folder = metrics.get(metric, math.nan), Path(self._again(trial, seed)[1])
            if math.isfinite(value):
                others[trial.number].append((value, folder))
            else:
                log.warning("Finalist %d failed with seed %d; its log is in %s", trial.number, seed, folder)
        # What is known is what the finalist was chosen by, and so too good: the other seeds decide.
        means = {number: mean(value for value, _ in others[number] or known[number]) for number in known}
        number = max(means, key=lambda key: (len(others[key]), sign * means[key]))  # failed with one: after the rest
        for trial in finalists:
            values = ", ".join(f"{value:.4f}" for value, _ in known[trial.number] + others[trial.number])
            log.info(
                "Finalist %d: %s %.4f with other seeds (all: %s)", trial.number, metric, means[trial.number], values
            )
        runs = {key: [value for value, _ in known[key] + others[key]] for key in known}
        self.study.remember("finalists", {str(key): values for key, values in runs.items()})
        winner = next(trial for trial in self.study.trials() if trial.number == number)
        testable = max(known[number] + others[number], key=lambda run: (self._is_here(run[1]), sign * run[0]))
        return winner, testable[1]

    def _finalists(self) -> list[FrozenTrial]:
        """Choose the best sets of parameters; of several objectives, from the Pareto front."""
        trials = distinct_trials(self.study.trials(), self.study.directions)
        choose = ranked if len(self.plan.objectives) == 1 else best_trials
        return choose(trials, self.study.directions)[: self.settings.finalists]

    def _known(self, finalist: FrozenTrial) -> list[tuple[float, Path]]:
        """List the values and folders of all trials that had a finalist's parameters, the best first."""
        alike = [trial for trial in self.study.trials() if distinct_key(trial) == distinct_key(finalist)]
        return [(trial.values[0], Path(trial.user_attrs["folder"])) for trial in ranked(alike, self.study.directions)]

    def _again(self, trial: FrozenTrial, seed: int) -> tuple[list[str], str, dict[str, str]]:
        """Return overrides, folder and tags of a finalist with another seed."""
        overrides = [o for o in self.plan.space.overrides(trial.params) if o.partition("=")[0].lstrip("+") != "seed"]
        name = f"{trial.number}-seed{seed}"
        folder = self.plan.folder / "finalists" / name
        return [*overrides, f"seed={seed}"], str(folder), {FINALIST_TAG: name, "sweep.study": self.plan.name}

    def _seeds(self) -> list[int]:
        """Choose seeds that no trial had: what chose the finalists must not judge them.

        A trial's seed is that of its config, wherever it comes from: a list, the command line, an experiment.
        """
        compose, space = self.plan.composer.config, self.plan.space
        trained = [trial for trial in self.study.trials() if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        used = {compose(space.overrides(trial.params)).seed for trial in trained}
        free = (seed for seed in count(min(used) + 1) if seed not in used)
        return list(islice(free, self.settings.finalist_seeds))

    def _is_here(self, folder: Path) -> bool:
        """Return whether a run can be tested here: a host may have its own disk, and poor trials lose checkpoints.

        What lies where another host has the trial is what was left here of one that it took over.
        """
        owners = [trial for trial in self.study.trials() if trial.user_attrs.get("folder") == str(folder)]
        return all(lies_here(trial.user_attrs) for trial in owners) and (folder / "checkpoints" / "last.pt").is_file()

    def _sign(self) -> float:
        return 1.0 if self.plan.directions[0] == "maximize" else -1.0

    def _plots(self) -> Path:
        folder = self.plan.folder / "plots"
        draw_plots(self.study.study, folder, self.plan.objectives)
        return folder

    def _tags(self, winner: FrozenTrial | None, metrics: dict[str, Any]) -> dict[str, str]:
        """Return what the sweep's MLflow run says of its result."""
        if winner is None:
            return {}
        names = zip(self.plan.objectives, winner.values, strict=True)
        return {
            "best.trial": str(winner.number),
            "best.folder": metrics["run/folder"],
            "best.model": metrics.get("run/model", "not registered"),
            **{f"best.{name}": f"{value:.6g}" for name, value in names},
            **{f"best.{key}": str(value) for key, value in winner.params.items()},
        }

    @property
    def _report_file(self) -> Path:
        return self.plan.folder / "report.html"

    def _places(self, winner: FrozenTrial | None, metrics: dict[str, Any], tracker: Tracker) -> dict[str, str]:
        """Return what came of the sweep and where it lies, each under its label."""
        places = {}
        if "test/accuracy" in metrics:
            shown = (METRICS[name] for name in ("accuracy", "macro_f1"))
            values = ", ".join(f"{metric.label} {metrics[f'test/{metric.name}']:.4f}" for metric in shown)
            places["Test"] = f"{values} on {metrics['test/images']} images, of which no trial saw one"
            places["Report"] = str(shown_path(Path(metrics["run/folder"]) / "report.html"))
        if "run/model" in metrics:
            places["Model"] = f"{metrics['run/model']} {metrics['run/promotion']}"
        if winner is not None:
            places["Experiment"] = str(shown_path(self._write_experiment(winner)))
        return {**places, "Plots": str(shown_path(self.plan.folder / "plots")), "MLflow": tracker.where_to_look()}

    def _report(self, winner: FrozenTrial | None, places: dict[str, str]) -> Path:
        """Write the sweep's page."""
        plan = self.plan
        known = plan.composer.texts(())
        story = SweepStory(
            command=str(plan.command),
            repeat=self._repeat() if winner is not None else "",
            space=plan.space.describe(),
            defaults={key: known[key] for key in plan.space.describe() if key in known},
            places=places,
            finalists=self.study.recall("finalists") or {},
        )
        page = sweep_report(self.study.study, plan.objectives, plan.folder, story, winner)
        return write_report(self._report_file, page)

    def _show(self, winner: FrozenTrial | None, places: dict[str, str]) -> None:
        """Show the end summary, in the terminal and in sweep.log."""
        command = self._repeat() if winner is not None else ""
        text = summary_text(
            self.study.study, self.plan.objectives, experiment_command=command, chosen=winner, places=places
        )
        log.info("\n%s", text)

    def _write_experiment(self, winner: FrozenTrial) -> Path:
        """Write the winner's parameters as an experiment file."""
        plan = self.plan
        overrides = plan.space.overrides(winner.params)
        conf = plan.folder / "conf"
        comment = f"Trial {winner.number} of the sweep {plan.name}. To train with its parameters:\n{self._repeat()}"
        return write_experiment(
            conf / "experiment" / "best.yaml", overrides, comment, plan.composer.config(overrides).to_plain()
        )

    def _repeat(self) -> str:
        """Write the command that trains with the winner's parameters."""
        command = self.plan.command.with_arguments("experiment=best")
        ours = f"--config-dir={shown_path(self.plan.folder / 'conf')}"
        return str(replace(command, arguments=(ours, *command.arguments)))  # first: other folders may have a best.yaml
