"""The study that all workers of a sweep share: who tries what, what came of it, and what a killed one left behind.

Several processes, on one host or more, ask and tell the same study. Whatever must happen once (creating tables, taking
the next trial, taking over a dead one) happens under `SharedStudy.lock`. docs/sweeps.md says what holds between hosts.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.exceptions import UpdateFinishedTrialError
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError, TakenOver
from astroclf.sweep import claim as claims
from astroclf.sweep.claim import Claim, SilenceWatch
from astroclf.sweep.private import reopen_trial, trial_id
from astroclf.sweep.results import best_trials, param_identity
from astroclf.sweep.space import SearchSpace
from astroclf.sweep.storage import open_storage, reason_of, storage_lock
from astroclf.tracking.address import hide_password

MAX_LISTED_CHANGES = 12  # keys in which two starts of a study differ, in the message that refuses the second


class SharedStudy:
    """An Optuna study as several processes use it.

    Parameters
    ----------
    uri
        Its storage, in the form that `absolute_storage` gives.
    name
        The study's name; one that exists is joined.
    directions
        ``maximize`` or ``minimize``, one for each objective.
    folder
        The sweep's folder; a trial's is below it, named after its number.
    pruner
        What judges running trials; only processes that run some need it.

    Raises
    ------
    SweepError
        The database cannot be opened, or the study goes by other directions.
    """

    def __init__(
        self, uri: str, name: str, directions: Sequence[str], folder: Path, pruner: BasePruner | None = None
    ) -> None:
        self.uri, self.name, self.folder = uri, name, folder
        self._silence = SilenceWatch()
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
            raise SweepError(
                f"The study {name} cannot be opened in {hide_password(uri)}: {reason_of(error)}."
            ) from error
        known = [direction.name.lower() for direction in self.study.directions]
        if known != list(directions):
            raise SweepError(
                f"The study {name} exists and goes by {', '.join(known)}, this sweep by {', '.join(directions)}: give "
                "it another name with hydra.sweeper.study_name=, or bring back the objectives it began with."
            )

    def lock(self) -> AbstractContextManager[None]:
        """Return the lock without which nobody takes or takes over a trial of this study; see `storage_lock`."""
        return storage_lock(self.uri, self.name)

    @property
    def directions(self) -> list[StudyDirection]:
        """The direction of each objective."""
        return self.study.directions

    def trials(self) -> list[FrozenTrial]:
        """Return every trial so far."""
        return self.study.get_trials(deepcopy=False)

    def trial(self, number: int) -> FrozenTrial:
        """Return one trial as the database has it now."""
        return self.storage.get_trial(trial_id(self.storage, self.name, number))

    # ---- what belongs to the study as a whole ------------------------------------------------------------------------

    def recall(self, key: str) -> Any:
        """Return what `remember` kept with the study; None where there is nothing."""
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
            more = len(changed) - MAX_LISTED_CHANGES
            listed = "\n  ".join(changed[:MAX_LISTED_CHANGES] + ([f"and {more} more"] if more > 0 else []))
            raise SweepError(
                f"The study {self.name} exists, and was begun with something else:\n  {listed}\n{remedy} Or start a "
                "new study with another hydra.sweeper.study_name=."
            )

    def enqueue(self, combinations: Sequence[Mapping[str, Any]]) -> None:
        """Plan trials with these parameters, unless they are planned already."""
        with self.lock(), warnings.catch_warnings(action="ignore"):
            known = {param_identity(trial.system_attrs.get("fixed_params", trial.params)) for trial in self.trials()}
            for params in combinations:  # Optuna's skip_if_exists would read all trials anew for each
                if param_identity(params) not in known:
                    self.study.enqueue_trial(dict(params))

    # ---- trials ------------------------------------------------------------------------------------------------------

    def best(self) -> FrozenTrial | None:
        """Return the best complete trial; with several objectives, of the Pareto front the best by the first."""
        return next(iter(best_trials(self.trials(), self.directions)), None)

    def claim(
        self,
        n_trials: int,
        space: SearchSpace,
        base: Mapping[str, str],
        sampler: Callable[[int], BaseSampler],
        worker: str = "",
    ) -> Claim | None:
        """Take the next trial for this process: one whose process died, or a new one; None when all have begun.

        Parameters
        ----------
        space, base
            See `SearchSpace.suggest`.
        sampler
            Makes a sampler from the number of trials that have begun.
        worker
            What is one process at a time, as a job that is queued again: a trial that it had is its own.
        """
        with self.lock():
            known = self.trials()
            for running in known:
                if running.state == TrialState.RUNNING and (claim := self._take_over(running, space, base, worker)):
                    return claim
            begun = sum(trial.state != TrialState.WAITING for trial in known)
            if begun >= n_trials:
                return None
            self.study.sampler = sampler(begun)
            trial = self.study.ask()
            folder = claims.free_folder(self.folder, trial.number)
            return self._mark(trial, folder, claims.lock_folder(folder), worker, {}, space, base)

    def is_left(self, frozen: FrozenTrial) -> bool:
        """Return whether a running trial could be taken over now, for its process is dead; takes nothing."""
        if not self._may_be_left(frozen):
            return False
        if claims.lies_here(frozen.user_attrs):
            try:
                claims.lock_folder(Path(frozen.user_attrs["folder"])).release()
            except Timeout:
                return False
        return True

    def _may_be_left(self, frozen: FrozenTrial) -> bool:
        """Return whether nothing says that a trial's process lives, unless the lock of its folder does."""
        known = frozen.user_attrs
        # Without a claim it was left by a process that died while it held the lock of the study.
        return (
            "claim" not in known
            or (known.get("left") == known["claim"] and claims.lies_here(known))  # its own host may come back for it
            or claims.is_neighbour(known)
            or self._silence.seconds(frozen) > claims.LOST_SECONDS
        )

    def _take_over(
        self, frozen: FrozenTrial, space: SearchSpace, base: Mapping[str, str], worker: str = ""
    ) -> Claim | None:
        """Take a trial whose process is dead, to go on with it here; None if that may be alive."""
        known = frozen.user_attrs
        if not (worker and known.get("worker") == worker) and not self._may_be_left(frozen):
            return None
        # On a disk of another host's own: begun again, under the same number.
        folder = Path(known["folder"]) if claims.lies_here(known) else claims.free_folder(self.folder, frozen.number)
        try:
            lock = claims.lock_folder(folder)
        except Timeout:
            return None
        if self.trial(frozen.number).state.is_finished():  # told since it was looked up
            lock.release()
            return None
        trial = reopen_trial(self.study, self.storage, frozen.number)
        return self._mark(trial, folder, lock, worker, known, space, base)

    def _mark(
        self,
        trial: Trial,
        folder: Path,
        lock: FileLock,
        worker: str,
        known: Mapping[str, Any],
        space: SearchSpace,
        base: Mapping[str, str],
    ) -> Claim:
        """Make a trial this process's; what was suggested before a kill is suggested again."""
        token = claims.write_claim(folder, known)
        place = {"folder": str(folder.absolute()), "host": socket.gethostname(), "worker": worker}
        for key, value in {**place, "heartbeat": time.time(), "claim": token}.items():  # the claim last: it is complete
            trial.set_user_attr(key, value)
        return Claim(trial, space.suggest(trial, base), folder, lock, token, is_new=not known)

    @contextmanager
    def owned(self, claim: Claim) -> Iterator[Trial]:
        """Give a trial to a block that writes to it, if it is still this process's.

        Raises
        ------
        TakenOver
            This process was silent for so long (a suspended laptop, a disk that did not answer) that another went on.
        """
        number = claim.trial.number
        now = self.trial(number)
        lost = f"Trial {number} was taken over, for this process gave no sign of life; it is left to the other."
        if now.state.is_finished() or now.user_attrs.get("claim") != claim.token:
            raise TakenOver(lost)
        try:
            yield claim.trial
        except UpdateFinishedTrialError as error:
            raise TakenOver(lost) from error

    def leave(self, claim: Claim) -> None:
        """Say that this process ends a trial's training for now: who asks next may go on with it at once.

        Raises
        ------
        TakenOver
            The trial is another process's, or has been told.
        """
        with self.owned(claim) as trial:
            trial.set_user_attr("left", claim.token)

    def tell(self, claim: Claim, state: TrialState, values: Sequence[float] | None = None, reason: str = "") -> None:
        """Tell the study what came of a trial.

        Raises
        ------
        TakenOver
            The trial is another process's, or has been told.
        """
        if values is not None and not all(math.isfinite(value) for value in values):
            state, values, reason = TrialState.FAIL, None, "the objective is not finite"
        with self.lock(), self.owned(claim) as trial:  # nobody takes it over in between
            if reason:
                trial.set_user_attr("reason", reason)
            self.study.tell(trial, list(values) if values is not None else None, state, skip_if_finished=True)

    def trial_of(self, worker: str) -> int | None:
        """Return the number of the running trial that a worker has; None where it has none."""
        running = (trial for trial in self.trials() if trial.state == TrialState.RUNNING)
        return next((trial.number for trial in running if trial.user_attrs.get("worker") == worker), None)

    def count_death(self, number: int) -> int:
        """Keep with a running trial that its process died, and release it; returns how often that was."""
        deaths = int(self.trial(number).user_attrs.get("deaths", 0)) + 1
        self._set(number, "deaths", deaths)
        self.release(number)
        return deaths

    def release(self, number: int) -> None:
        """Say that a running trial's process is dead: who asks next may go on with it at once."""
        self._set(number, "left", self.trial(number).user_attrs.get("claim"))

    def fail(self, number: int, reason: str) -> None:
        """Give up a trial whose process is dead."""
        self._set(number, "reason", reason)
        self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _set(self, number: int, key: str, value: Any) -> None:
        """Keep a value with a trial; one that was told meanwhile, by whoever it is now, stays as it is."""
        if not self.trial(number).state.is_finished():
            with suppress(UpdateFinishedTrialError):
                self.storage.set_trial_user_attr(trial_id(self.storage, self.name, number), key, value)


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    with suppress(ValueError, TypeError):
        loaded = json.loads(value)
        if isinstance(loaded, dict) and "attributes" in loaded:
            return ", ".join(f"{k} {v}" for k, v in loaded["attributes"].items() if v is not None)
    return str(value)


class Heartbeat:
    """The sign of life of a running trial, given while active, for workers that do not see the lock of its folder."""

    def __init__(self, study: SharedStudy, claim: Claim) -> None:
        self._study, self._claim, self._stop = study, claim, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(claims.HEARTBEAT_SECONDS):
            # Nothing for a trial that another process runs. A database that does not answer for once is no reason to
            # stop a training.
            with suppress(Exception), self._study.owned(self._claim) as trial:
                trial.set_user_attr("heartbeat", time.time())
