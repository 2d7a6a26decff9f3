"""The study that all workers of a sweep share: who tries what, what came of it, and what a killed one left behind.

Several processes, on one host or more, ask and tell the same study. Whatever must happen once (creating tables, taking
the next trial, taking over a dead one) happens under `SharedStudy.lock`. docs/sweeps.md says what holds between hosts.
"""

from __future__ import annotations

import hashlib
import json
import math
import socket
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.storages import RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.sweep.private import reopen_trial, trial_id
from astroclf.sweep.results import best_trials
from astroclf.sweep.space import SearchSpace
from astroclf.tracking.client import hide_password

BUSY_SECONDS = 120.0  # how long a locked SQLite database is waited for
HEARTBEAT_SECONDS = 60.0
LOST_SECONDS = 600.0  # a worker on another host that was silent for so long is taken for dead
MAX_LISTED_CHANGES = 12  # keys in which two starts of a study differ, in the message that refuses the second
SQLITE = "sqlite:///"


def absolute_storage(uri: str) -> str:
    """Return a storage's address in the form that does not depend on the working folder."""
    if uri.startswith(SQLITE):
        return f"{SQLITE}{Path(uri.removeprefix(SQLITE)).expanduser().absolute()}"
    return uri


def open_storage(uri: str) -> RDBStorage:
    """Open Optuna's tables at `uri`, created by one process at a time.

    Raises
    ------
    SweepError
        The database cannot be opened.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = uri.startswith(SQLITE)
    # A connection is opened anew in each process; a busy SQLite file is waited for, not given up.
    engine = {"connect_args": {"timeout": BUSY_SECONDS}} if sqlite else {"pool_pre_ping": True}
    try:
        if sqlite:
            Path(uri.removeprefix(SQLITE)).parent.mkdir(parents=True, exist_ok=True)
        with storage_lock(uri, timeout=BUSY_SECONDS):
            return RDBStorage(uri, engine_kwargs=engine)
    except (SQLAlchemyError, OSError, Timeout, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise SweepError(
            f"The study's database hydra.sweeper.storage={hide_password(uri)} cannot be opened: {reason} Give one "
            "that can be written to, such as sqlite:///experiments/optuna.db, or start the database server."
        ) from error


@contextmanager
def storage_lock(uri: str, study: str = "", timeout: float = -1) -> Iterator[None]:
    """Hold a database's lock for one study, or for its tables.

    On PostgreSQL it holds between hosts; with any other database between the processes of one host.

    Parameters
    ----------
    uri
        The database, in the form that `absolute_storage` gives.
    study
        The study's name; empty: the tables.
    timeout
        Seconds to wait for it, not heeded on PostgreSQL; below 0: as long as it takes.

    Raises
    ------
    Timeout
        Another process held it all the time.
    """
    key = _digest(study)
    if uri.startswith("postgresql"):
        number = {"number": int(key[:15], 16)}
        with create_engine(uri, poolclass=NullPool).connect() as connection:  # the lock goes with it, however it ends
            connection.execute(text("SELECT pg_advisory_lock(:number)"), number)
            try:
                yield
            finally:
                connection.execute(text("SELECT pg_advisory_unlock(:number)"), number)
        return
    if uri.startswith(SQLITE):
        path = Path(uri.removeprefix(SQLITE))
    else:
        path = Path(tempfile.gettempdir()) / f"astroclf-{_digest(uri)[:12]}"
    with FileLock(f"{path}.{key[:12]}.lock" if study else f"{path}.lock", timeout=timeout):
        yield


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()


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
            for params in combinations:
                self.study.enqueue_trial(dict(params), skip_if_exists=True)

    # ---- trials ------------------------------------------------------------------------------------------------------

    def best(self) -> FrozenTrial | None:
        """Return the best complete trial; with several objectives, of the Pareto front the best by the first."""
        return next(iter(best_trials(self.trials(), self.directions)), None)

    def claim(
        self, n_trials: int, space: SearchSpace, base: Mapping[str, str], sampler: Callable[[int], BaseSampler]
    ) -> Claim | None:
        """Take the next trial for this process: one whose process died, or a new one; None when all have begun.

        Parameters
        ----------
        space, base
            See `SearchSpace.suggest`.
        sampler
            Makes a sampler from the number of trials that have begun.
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
        """Take a trial whose process is dead, to go on with it here; None if that may be alive."""
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
        if self.trial(frozen.number).state.is_finished():  # told since it was looked up
            lock.release()
            return None
        trial = reopen_trial(self.study, self.storage, frozen.number)
        return self._mark(trial, known, lock, space, base, is_new=False)

    def _mark(
        self,
        trial: Trial,
        folder: Path,
        lock: FileLock,
        space: SearchSpace,
        base: Mapping[str, str],
        is_new: bool,
    ) -> Claim:
        """Make a trial this process's; what was suggested before a kill is suggested again."""
        marks = {"folder": str(folder.absolute()), "host": socket.gethostname(), "heartbeat": time.time()}
        for key, value in marks.items():
            trial.set_user_attr(key, value)
        return Claim(trial, space.suggest(trial, base), folder, lock, is_new)

    def tell(self, claim: Claim, state: TrialState, values: Sequence[float] | None = None, reason: str = "") -> None:
        """Tell the study what came of a trial; telling twice changes nothing."""
        if reason:
            claim.trial.set_user_attr("reason", reason)
        if values is not None and not all(math.isfinite(value) for value in values):
            state, values = TrialState.FAIL, None
            claim.trial.set_user_attr("reason", "the objective is not finite")
        self.study.tell(claim.trial, list(values) if values is not None else None, state, skip_if_finished=True)

    def count_death(self, number: int) -> int:
        """Keep with a running trial that its process died; returns how often that was."""
        trial = self.trial(number)
        deaths = int(trial.user_attrs.get("deaths", 0)) + 1
        if not trial.state.is_finished():
            self._set(number, "deaths", deaths)
        return deaths

    def fail(self, number: int, reason: str) -> None:
        """Give up a trial whose process is dead."""
        if not self.trial(number).state.is_finished():
            self._set(number, "reason", reason)
            self.study.tell(number, state=TrialState.FAIL, skip_if_finished=True)

    def _set(self, number: int, key: str, value: Any) -> None:
        self.storage.set_trial_user_attr(trial_id(self.storage, self.name, number), key, value)


def _lock_folder(folder: Path) -> FileLock:
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".trial.lock", timeout=0)
    lock.acquire()
    return lock


def _free_folder(sweep: Path, number: int) -> Path:
    """Name a folder for a trial that no other has, such as one of a study whose database is gone."""
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


class Heartbeat:
    """The sign of life of a running trial, given while active, for workers on hosts that do not see its locks."""

    def __init__(self, trial: Trial) -> None:
        self._trial, self._stop = trial, threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True, name="heartbeat")

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._stop.wait(HEARTBEAT_SECONDS):
            with suppress(Exception):  # a database that does not answer for once is no reason to stop a training
                self._trial.set_user_attr("heartbeat", time.time())
