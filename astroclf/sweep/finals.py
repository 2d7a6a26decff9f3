"""The end of a sweep: finalists over seeds, one test of the winner, its registration, its experiment file."""

from __future__ import annotations

import math
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from filelock import FileLock
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import OmegaConf
from optuna.trial import FrozenTrial

from astroclf.errors import ConfigError
from astroclf.evaluation.metrics import METRICS
from astroclf.run.folder import resume_command, shown_path
from astroclf.settings.sweep import SweepSettings
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.plan import SweepPlan, train_command
from astroclf.sweep.pool import WorkerPool
from astroclf.sweep.results import ranked
from astroclf.sweep.study import SharedStudy
from astroclf.sweep.trial import FINALIST_TAG
from astroclf.sweep.view.plots import draw_plots
from astroclf.sweep.view.summary import summary_text
from astroclf.tracking.tracker import Tracker
from astroclf.util.atomic import write_text
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
        """Choose the winner, test and register it, draw the plots, and say how to go on."""
        plan = self.plan
        with FileLock(plan.folder / ".finals.lock"):
            winner, folder = self._winner(pool)
            metrics: dict[str, Any] = {}
            if folder is not None:
                metrics = {**self._test(pool, folder), "run/folder": str(folder)}
            tracker.log_artifacts(self._plots())
            tracker.set_tags(self._tags(winner, metrics))
            self._show(winner, metrics, tracker)

    def _test(self, pool: WorkerPool, folder: Path) -> dict[str, Any]:
        """Test the winner, and return its metrics; none where its checkpoint is out of reach."""
        if not _has_checkpoint(folder):
            log.warning(
                "The best has no checkpoint that this host (%s) can read, and was not tested here. Where it has one, "
                "test and register it with: %s", socket.gethostname(), resume_command(folder),
            )  # fmt: skip
            return {}
        log.info("Testing the best: %s", shown_path(folder))
        (metrics,) = pool.run([("test", str(folder))])
        return dict(metrics)

    def _winner(self, pool: WorkerPool) -> tuple[FrozenTrial | None, Path | None]:
        """Choose the trial that wins, and the folder of its run that is to be tested."""
        best = self.study.best()
        if best is None:
            return None, None
        if not self.settings.finalists:
            return best, Path(best.user_attrs["folder"])
        finalists = ranked(self.study.trials(), self.study.directions)[: self.settings.finalists]
        jobs = [(trial, seed) for trial in finalists for seed in self._seeds()]
        found = pool.run(("train", *self._again(trial, seed)) for trial, seed in jobs)
        metric, sign = self.plan.objectives[0], self._sign()
        runs = {trial.number: [(trial.values[0], Path(trial.user_attrs["folder"]))] for trial in finalists}
        for (trial, seed), metrics in zip(jobs, found, strict=True):
            value, folder = metrics.get(metric, math.nan), Path(self._again(trial, seed)[1])
            if math.isfinite(value):
                runs[trial.number].append((value, folder))
            else:
                log.warning("Finalist %d failed with seed %d; its log is in %s", trial.number, seed, folder)
        # The first value is the one that the finalist was chosen by, and so too good: the other seeds decide.
        means = {number: mean(value for value, _ in (values[1:] or values)) for number, values in runs.items()}
        number = max(means, key=lambda key: (len(runs[key]), sign * means[key]))  # failed with one seed: after the rest
        for trial in finalists:
            values = ", ".join(f"{value:.4f}" for value, _ in runs[trial.number])
            log.info(
                "Finalist %d: %s %.4f with other seeds (all: %s)", trial.number, metric, means[trial.number], values
            )
        self.study.remember("finalists", {str(key): [value for value, _ in values] for key, values in runs.items()})
        winner = next(trial for trial in finalists if trial.number == number)
        return winner, max(runs[number], key=lambda run: (_has_checkpoint(run[1]), sign * run[0]))[1]

    def _again(self, trial: FrozenTrial, seed: int) -> tuple[list[str], str, dict[str, str]]:
        """Return overrides, folder and tags of a finalist with another seed."""
        overrides = [o for o in self.plan.space.overrides(trial.params) if not o.startswith("seed=")]
        name = f"{trial.number}-seed{seed}"
        folder = self.plan.folder / "finalists" / name
        return [*overrides, f"seed={seed}"], str(folder), {FINALIST_TAG: name, "sweep.study": self.plan.name}

    def _seeds(self) -> list[int]:
        first = int(self.plan.base.get("seed", 0))
        return [first + number for number in range(1, self.settings.finalist_seeds + 1)]

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

    def _show(self, winner: FrozenTrial | None, metrics: dict[str, Any], tracker: Tracker) -> None:
        """Show the end summary, in the terminal and in sweep.log."""
        places = {"Plots": str(shown_path(self.plan.folder / "plots"))}
        command = ""
        if winner is not None:
            path, command = self._write_experiment(winner)
            tested = {}
            if "test/accuracy" in metrics:
                shown = (METRICS[name] for name in ("accuracy", "macro_f1"))
                values = ", ".join(f"{metric.label} {metrics[f'test/{metric.name}']:.4f}" for metric in shown)
                tested = {
                    "Test": f"{values} on {metrics['test/images']} images, of which no trial saw one",
                    "Report": str(shown_path(Path(metrics["run/folder"]) / "report.html")),
                }
            places = {
                **tested,
                **({"Model": f"{metrics['run/model']} {metrics['run/promotion']}"} if "run/model" in metrics else {}),
                "Experiment": str(shown_path(path)),
                **places,
            }
        places["MLflow"] = tracker.where_to_look()
        text = summary_text(
            self.study.study, self.plan.objectives, experiment_command=command, chosen=winner, places=places
        )
        log.info("\n%s", text)

    def _write_experiment(self, winner: FrozenTrial) -> tuple[Path, str]:
        """Write the winner's parameters as an experiment file; returns its path, and the command that trains it."""
        plan = self.plan
        overrides = plan.space.overrides(winner.params)
        conf = plan.folder / "conf"
        comment = f"Trial {winner.number} of the sweep {plan.name}."
        path = write_experiment(
            conf / "experiment" / "best.yaml", overrides, comment, plan.composer.config(overrides).to_plain()
        )
        return path, train_command([f"--config-dir={shown_path(conf)}", "experiment=best"])


def _has_checkpoint(folder: Path) -> bool:
    """Return whether a run can be tested here: a host may have its own disk, and poor trials lose their checkpoints."""
    return (folder / "checkpoints" / "last.pt").is_file()


# ---- the winner as an experiment file --------------------------------------------------------------------------------


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
    """Return an entry of a defaults list."""
    group = f"/{override.key_or_group}" + (f"@{override.package}" if override.package else "")
    is_new = override.type in (OverrideType.ADD, OverrideType.FORCE_ADD)
    return {group if is_new else f"override {group}": override.value()}


def _whole_lists(key: str, value: Any, config: Mapping[str, Any] | None) -> tuple[str, Any]:
    """Return a key and its value; of one that names an element of a list, the list and all its values."""
    parts = key.replace("[", ".").replace("]", "").split(".")
    index = next((place for place, part in enumerate(parts) if part.isdecimal()), None)
    if index is None:
        return key, value
    place = ".".join(parts[:index])
    whole = OmegaConf.select(OmegaConf.create(dict(config or {})), place)
    if whole is None:
        raise ConfigError(f"{key} sets one element of a list; give the whole list, {place}=[...], instead.")
    return place, OmegaConf.to_container(whole) if OmegaConf.is_config(whole) else whole
