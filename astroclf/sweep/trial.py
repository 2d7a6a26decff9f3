"""One trial of a sweep: a training that reports its validations, may be given up, and tells how it ended."""

from __future__ import annotations

import gc
import logging
import math
import shutil
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from astroclf.config.resume import resumed_config
from astroclf.errors import AstroclfError, DiskError, Interrupted, Pruned, TakenOver
from astroclf.run.folder import RunFolder
from astroclf.settings.config import Config
from astroclf.sweep.claim import Claim
from astroclf.sweep.plan import SweepPlan, planned_validations
from astroclf.sweep.results import best_trials, ranked
from astroclf.sweep.space import as_text
from astroclf.sweep.study import Heartbeat, SharedStudy
from astroclf.sweep.view.wording import short_names
from astroclf.tracking.client import AWAY_SECONDS, wait_out
from astroclf.tracking.runs import find_run
from astroclf.util.disk import in_one_paragraph
from astroclf.util.lazy import lazy_import
from astroclf.util.logs import LogFile, log

if TYPE_CHECKING:
    import torch

    from astroclf.run import build, parts, train
else:  # the coordinator needs none of them
    torch = lazy_import("torch")
    build = lazy_import("astroclf.run.build")
    parts = lazy_import("astroclf.run.parts")
    train = lazy_import("astroclf.run.train")

NAME_LENGTH = 120  # characters of a run's name: more is cut off in every list
TRIAL_TAG, FINALIST_TAG = "sweep.trial", "sweep.finalist"


def run_trial(study: SharedStudy, plan: SweepPlan, claim: Claim, cache: parts.ProcessCache) -> None:
    """Train a trial, or go on where its process was killed, and tell the study.

    Whatever goes wrong with one trial is its result, and no reason to end the sweep.

    Raises
    ------
    Interrupted
        Ctrl-C or SIGTERM; the trial stays open, to be gone on with.
    DiskError
        The disk is full or read-only, which the next trial would meet as well; this one stays open, too.
    """
    tags = {TRIAL_TAG: str(claim.trial.number), "sweep.study": plan.name}
    report = _Reporter(claim, study, plan.objectives[0] if len(plan.objectives) == 1 else None)
    with log_file(claim.folder / "train.log"), Heartbeat(study, claim):
        try:
            study.tell(claim, *_outcome(plan, claim, cache, tags, report))
        except TakenOver as error:
            log.warning("%s", error)
        except (Interrupted, KeyboardInterrupt, DiskError):
            with suppress(Exception):  # a database that does not answer: others wait until the trial seems dead
                study.leave(claim)
            raise
        finally:
            claim.lock.release()
            free_memory()


def _outcome(
    plan: SweepPlan, claim: Claim, cache: parts.ProcessCache, tags: Mapping[str, str], report: _Reporter
) -> tuple[TrialState, list[float] | None, str]:
    """Train a trial and return what came of it: its state, the objectives, and the reason where it has none."""
    overrides, name = plan.space.overrides(claim.params), trial_name(claim.trial.number, claim.params)
    try:
        metrics = train_once(plan, overrides, claim.folder, cache, tags, report, is_new=claim.is_new, name=name)
        return TrialState.COMPLETE, [_value(metrics, objective) for objective in plan.objectives], ""
    except Pruned as error:
        log.info("%s", error)
        return TrialState.PRUNED, None, str(error)
    except (Interrupted, KeyboardInterrupt, TakenOver, StorageInternalError, SQLAlchemyError):
        raise  # nothing that the trial could do for
    except Exception as error:
        return TrialState.FAIL, None, log_failure(error)
    finally:
        with suppress(TakenOver):
            report.keep_time()


def log_failure(error: Exception) -> str:
    """Log what ended a training, with a traceback if no user can have caused it; returns the reason in one line.

    Raises
    ------
    DiskError
        A disk refused, which is no result of the training.
    """
    if refused := in_one_paragraph(error):
        raise refused from error
    if isinstance(error, AstroclfError):
        log.error("%s", error)
        return str(error)
    log.error("%s", "".join(traceback.format_exception(error)))
    return f"{type(error).__name__}: {error}"


def drop_checkpoints(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection], keep: int | None) -> None:
    """Remove the checkpoints of finished trials that are not among the best: of a hundred, tens of gigabytes."""
    if keep is None:
        return
    best = [*best_trials(trials, directions), *ranked(trials, directions)[:keep]]  # with several objectives, the front
    kept = {trial.number for trial in best}
    for trial in trials:
        if trial.state.is_finished() and trial.number not in kept and "folder" in trial.user_attrs:
            shutil.rmtree(Path(trial.user_attrs["folder"]) / "checkpoints", ignore_errors=True)


def train_once(
    plan: SweepPlan,
    overrides: list[str],
    folder: Path,
    cache: parts.ProcessCache,
    tags: Mapping[str, str],
    report: _Reporter | None = None,
    is_new: bool = False,
    name: str | None = None,
) -> dict[str, float]:
    """Train and validate one configuration in `folder`, from its checkpoint if it has one; returns the best metrics."""
    started = (folder / "config.yaml").is_file() and (folder / "checkpoints" / "last.pt").is_file()
    config = resumed_config(Config, folder, str(folder)) if started else plan.composer.config(overrides)
    if report is not None:
        report.expect(config)
    run_id = None if started or is_new else _orphan(plan, tags)
    run_folder = RunFolder.resumed(str(folder)) if started else RunFolder.new(folder)
    before_save, on_validation = (report.before_save, report.on_validation) if report is not None else (None, None)
    name = name or f"finalist {tags[FINALIST_TAG]}"
    context = build.TrialContext(run_id, plan.parent_run_id, tags, before_save, on_validation, name)
    return train.fit(config, run_folder, str(plan.command.with_arguments(*overrides)), cache, context)


def trial_name(number: int, params: Mapping[str, Any]) -> str:
    """Return the name of a trial of a sweep: its number, and the value that it has of each searched key.

    >>> trial_name(7, {"optimizer.lr": 0.00031622, "loss": "focal", "head.attention": True})
    '#7 lr=0.000316 loss=focal attention=true'
    """
    short = short_names(params)
    parts = (
        f"{short[key]}={f'{value:.3g}' if isinstance(value, float) else as_text(value)}"
        for key, value in params.items()
    )
    name = " ".join([f"#{number}", *parts])
    return name if len(name) <= NAME_LENGTH else name[: NAME_LENGTH - 1] + "…"


def _orphan(plan: SweepPlan, tags: Mapping[str, str]) -> str | None:
    """Find the MLflow run of the same trial, if its process was killed before the first checkpoint."""
    if plan.uri is None or plan.parent_run_id is None:
        return None
    wanted = {name: tags[name] for name in (TRIAL_TAG, FINALIST_TAG) if name in tags}
    uri, parent = plan.uri, plan.parent_run_id
    return wait_out(lambda: find_run(uri, wanted, parent_run_id=parent), AWAY_SECONDS)


class _Reporter:
    """What passes validations on to the study, and its verdict back.

    Everything it writes raises `TakenOver` where the trial is another process's by now.
    """

    def __init__(self, claim: Claim, study: SharedStudy, metric: str | None) -> None:
        self.claim, self.study, self.metric = claim, study, metric
        frozen = study.trial(claim.trial.number)
        self._reported = set(frozen.intermediate_values)
        self._started, self._before = time.monotonic(), frozen.user_attrs.get("seconds", 0.0)

    def expect(self, config: Config) -> None:
        """Keep with the trial how many validations a whole training has."""
        if planned := planned_validations(config):
            with self.study.owned(self.claim) as trial:
                trial.set_user_attr("validations", planned)

    def before_save(self) -> None:
        """Let nothing be written into a folder, or sent to a record, that is another process's."""
        with self.study.owned(self.claim):
            pass

    def keep_time(self) -> None:
        """Keep with the trial its seconds so far, those before an interruption among them."""
        with self.study.owned(self.claim) as trial:
            trial.set_user_attr("seconds", self._before + time.monotonic() - self._started)

    def on_validation(self, history: list[dict[str, float]], finished: bool) -> None:
        """Tell the study of a training's validations, and end it where the pruner says so."""
        self.keep_time()
        if self.metric is None:  # Optuna prunes by one value only
            return
        new = [number for number in range(1, len(history) + 1) if number not in self._reported]
        with self.study.owned(self.claim) as trial:
            for number in new:
                trial.report(float(history[number - 1][self.metric]), number)
        self._reported.update(new)
        # Once a validation: a trial that goes on has had its answer.
        if new and not finished and self.claim.trial.should_prune():
            value = history[-1][self.metric]
            raise Pruned(
                f"Pruned after validation {len(history)}: {self.metric} {value:.4f} is not good enough beside the "
                "other trials at this point."
            )


def _value(metrics: Mapping[str, Any], name: str) -> float:
    value = metrics.get(name)
    return math.nan if value is None else float(value)


@contextmanager
def log_file(path: Path) -> Iterator[None]:
    """Send the log to this file as well, while active."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = LogFile(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("[%(asctime)s][%(levelname)s] %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()


def free_memory() -> None:
    """Give back what the trial held, on the device too, before the next one wants it."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
