"""The study that all workers of a sweep share: who tries what, what came of it, and what a killed one left behind.

Several processes, on one host or more, ask and tell the same study. Whatever must happen once (creating tables, taking
the next trial, taking over a dead one) happens under `study_lock`.
"""

from __future__ import annotations

import json
import math
import socket
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.storage import open_storage, study_lock
from astroclf.sweep.view.trials import best_trials
from astroclf.tracking.client import hide_password

LOST_SECONDS = 600.0  # a worker on another host that was silent for so long is taken for dead


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to run.

    Attributes
    ----------
    lock
        Of the trial's folder: held while the trial runs, and by nobody once its process is dead.
    is_new
        Begun here, and not taken over.
    """

    trial: Trial
    params: dict[str, Any]
    folder: Path
    lock: FileLock
    is_new: bool


class SharedStudy:
    """An Optuna study as several processes use it.

    Parameters
    ----------
    uri : str
        Absolute storage.
    name : str
    directions : sequence of str
        ``maximize`` or ``minimize``, one for each objective.
    folder : Path
        The sweep's folder; a trial's is below it, named after its number.
    pruner : BasePruner, optional
    """

    def __init__(
        self, uri: str, name: str, directions: Sequence[str], folder: Path, pruner: BasePruner | None = None
    ) -> None:
        self.uri, self.name, self.folder = uri, name, folder
        self.storage = open_storage(uri)
        try:
            with self.lock(), warnings.catch_warnings(action="ignore"):
                self.study = optuna.create_study(
                    storage=self.storage,
                    study_name=name,
                    pruner=pruner,
                    directions=list(directions),  # type: ignore[arg-type]
                    load_if_exists=True,
                )
        except SQLAlchemyError as error:
            reason = " ".join(str(error).split())[:300]
            raise SweepError(f"The study {name} cannot be opened in {hide_password(uri)}: {reason}") from error
        known = [direction.name.lower() for direction in self.study.directions]
        if known != list(directions):
            raise SweepError(
                f"The study {name} exists and goes by {', '.join(known)}, this sweep by {', '.join(directions)}: give "
                "it another name with hydra.sweeper.study_name=, or bring back the objectives it began with."
            )

    def lock(self) -> Any:
        """See `study_lock`."""
        return study_lock(self.storage, self.uri, self.name)

    def trials(self) -> list[FrozenTrial]:
        """Every trial so far."""
        return self.study.get_trials(deepcopy=False)

    # ---- what belongs to the study as a whole ------------------------------------------------------------------------

    def recall(self, key: str) -> Any:
        """What `remember` kept; None where there is nothing."""
        return self.study.user_attrs.get(key)

    def remember(self, key: str, value: Any) -> None:
        """Keep a plain value with the study."""
        self.study.set_user_attr(key, value)

    def agree(self, key: str, what: Mapping[str, str], remedy: str) -> None:
        """Keep `what` with a new study; refuse to go on with one that began with something else.

        Raises
        ------
        SweepError
            What differs, key by key.
        """
        with self.lock():
            known = self.recall(key)
            if known is None:
                self.remember(key, dict(what))
                return
        changed = [
            f"{name}: {_shown(known.get(name))} then, {_shown(what.get(name))} now"
            for name in sorted({*known, *what})
            if known.get(name) != what.get(name)
        ]
        if changed:
            listed = "\n  ".join(changed[:12] + ([f"and {len(changed) - 12} more"] if len(changed) > 12 else []))
            raise SweepError(
                f"The study {self.name} exists, and was begun with something else:\n  {listed}\n{remedy} Or start a "
                "new study with another hydra.sweeper.study_name=."
            )

    def enqueue(self, combinations: Sequence[Mapping[str, Any]]) -> None:
        """Plan these trials, those that are not planned yet."""
        with self.lock(), warnings.catch_warnings(action="ignore"):
            for params in combinations:
                self.study.enqueue_trial(dict(params), skip_if_exists=True)

    # ---- trials ------------------------------------------------------------------------------------------------------

    def best(self) -> FrozenTrial | None:
        """The best complete trial; with several objectives that of the Pareto front which is best by the first."""
        return next(iter(best_trials(self.trials(), self.study.directions)), None)

    def claim(
        self, n_trials: int, space: SearchSpace, base: Mapping[str, str], sampler: Callable[[int], BaseSampler]
    ) -> Claim | None:
        """The next trial for this process: one whose process died, or a new one; None when all have begun.

        Parameters
        ----------
        space, base
            See `SearchSpace.suggest`.
        sampler
            From the number of trials so far to a sampler.
        """
        with self.lock():
            known = self.trials()
            for running in known:
                if running.state == TrialState.RUNNING and (claim := self._take_over(running, space, base)):
                    return claim
            begun = sum(trial.state != TrialState.WAITING for trial in known)
            if begun >= n_trials:
                return None
            self.study.sampler = sampler(begun)
            trial = self.study.ask()
            folder = _free_folder(self.folder, trial.number)
            return self._mark(trial, folder, _lock_folder(folder), space, base, is_new=True)

    def _take_over(self, frozen: FrozenTrial, space: SearchSpace, base: Mapping[str, str]) -> Claim | None:
        """A trial whose process is dead, to be gone on with here; None if it may be alive."""
        attrs = frozen.user_attrs
        known = Path(attrs["folder"]) if "folder" in attrs else _free_folder(self.folder, frozen.number)
        if attrs.get("host", socket.gethostname()) != socket.gethostname():
            if time.time() - attrs.get("heartbeat", 0.0) < LOST_SECONDS:
                return None
            if not known.is_dir():  # on a disk of its host's own: begun again, under the same number
                known = _free_folder(self.folder, frozen.number)
        try:
            lock = _lock_folder(known)
        except Timeout:
            return None
        if self.study._storage.get_trial(frozen._trial_id).state.is_finished():  # told since it was looked up
            lock.release()
            return None
        return self._mark(Trial(self.study, frozen._trial_id), known, lock, space, base, is_new=False)

    def _mark(
        self,
        trial: Trial,
        folder: Path,
        lock: FileLock,
        space: SearchSpace,
        base: Mapping[str, str],
        is_new: bool,
    ) -> Claim:
        """The trial as this process's; what was suggested before a kill is suggested again."""
        marks = {"folder": str(folder.absolute()), "host": socket.gethostname(), "heartbeat": time.time()}
        for key, value in marks.items():
            trial.set_user_attr(key, value)
        return Claim(trial, space.suggest(trial, base), folder, lock, is_new)

    def tell(self, claim: Claim, state: TrialState, values: Sequence[float] | None = None, reason: str = "") -> None:
        """What came of a trial; telling twice changes nothing."""
        if reason:
            claim.trial.set_user_attr("reason", reason)
        if values is not None and not all(math.isfinite(value) for value in values):
            state, values = TrialState.FAIL, None
            claim.trial.set_user_attr("reason", "the objective is not finite")
        self.study.tell(claim.trial, list(values) if values is not None else None, state, skip_if_finished=True)

    def count_death(self, number: int) -> int:
        """Keep with a running trial that its process died; how often that was."""
        trial = self._trial(number)
        deaths = int(trial.user_attrs.get("deaths", 0)) + 1
        if not trial.state.is_finished():
            Trial(self.study, trial._trial_id).set_user_attr("deaths", deaths)
        return deaths

    def fail(self, number: int, reason: str) -> None:
        """Give up a trial whose process is dead."""
        trial = self._trial(number)
        if not trial.state.is_finished():
            Trial(self.study, trial._trial_id).set_user_attr("reason", reason)
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _trial(self, number: int) -> FrozenTrial:
        return next(trial for trial in self.trials() if trial.number == number)


def _lock_folder(folder: Path) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".trial.lock", timeout=0)
    lock.acquire()
    return lock


def _free_folder(sweep: Path, number: int) -> Path:
    """The trial's folder; another where there is one already, of a study whose database is gone."""
    folder, count = sweep / str(number), 1
    while folder.exists():
        count += 1
        folder = sweep / f"{number}_{count}"
    return folder


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    with suppress(ValueError, TypeError):
        loaded = json.loads(value)
        if isinstance(loaded, dict) and "attributes" in loaded:
            return ", ".join(f"{k} {v}" for k, v in loaded["attributes"].items() if v is not None)
    return str(value)


def all_finished(trials: Sequence[FrozenTrial], n_trials: int) -> bool:
    """Whether nothing is left to do: combinations planned beyond `n_trials`, before it was lowered, stay waiting."""
    begun = [trial for trial in trials if trial.state != TrialState.WAITING]
    return len(begun) >= n_trials and all(trial.state.is_finished() for trial in begun)


FEW = 5  # trials: a share of fewer says little


def too_many_failures(trials: Sequence[FrozenTrial], rate: float) -> bool:
    """Whether a larger share than `rate` of the finished trials (of five, while there are fewer) failed."""
    finished = [trial for trial in trials if trial.state.is_finished()]
    failed = sum(trial.state == TrialState.FAIL for trial in finished)
    return failed > rate * max(len(finished), FEW)
