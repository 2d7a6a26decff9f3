"""A study that is made, asked, told and removed again, by which one learns whether a database serves sweeps."""

from __future__ import annotations

import secrets
import tempfile
from functools import partial
from pathlib import Path

import optuna
from optuna.distributions import FloatDistribution
from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

from astroclf.errors import SweepError
from astroclf.run.probes import Probe
from astroclf.settings.yaml_files import yaml_values
from astroclf.sweep.storage import SQLITE, absolute_storage, lock_file, lock_number, reason_of
from astroclf.sweep.study import SharedStudy
from astroclf.tracking.address import hide_password
from astroclf.util.watched import Call


def probe(storage: str | None, limit: float) -> Probe:
    """Return what is to be tried for a sweep; None names the database that sweeps have here."""
    uri = absolute_storage(storage or str(yaml_values("hydra/sweeper/optuna")["storage"]))
    remedy = "Look whether the server runs and a firewall lets this host through, or correct hydra.sweeper.storage."
    return Probe("study", hide_password(uri), Call(partial(try_study, uri), limit), remedy)


def try_study(uri: str) -> str:
    """Make a study in a database, ask and tell one trial, and remove it; returns what serves whom, in words.

    An SQLite file that is not there is not made: another one in its folder is, and removed.

    Raises
    ------
    SweepError
        The database cannot be opened or written, or its lock does not keep others out.
    """
    uri = absolute_storage(uri)
    file = Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None
    try:
        if file is None or file.exists():
            _ask_and_tell(uri)
        else:
            with tempfile.TemporaryDirectory(prefix=".astroclf-trial-", dir=_there(file)) as beside:
                _ask_and_tell(f"{SQLITE}{beside}/optuna.db")
    except (SQLAlchemyError, OSError) as error:
        raise SweepError(
            f"The study's database {hide_password(uri)} cannot be written: {reason_of(error)}. Check your "
            "rights there, or name another: hydra.sweeper.storage=."
        ) from error
    return "a study, for any number of hosts" if uri.startswith("postgresql") else "a study, for processes of this host"


def _ask_and_tell(uri: str) -> None:
    name = f"astroclf-trial-{secrets.token_hex(6)}"
    study = SharedStudy(uri, name, ["maximize"], Path(tempfile.gettempdir()))
    try:
        with study.lock():
            if uri.startswith("postgresql") and _takes_lock(uri, name):
                raise SweepError(
                    f"The locks of {hide_password(uri)} keep nobody out, so that two hosts could begin the same trial: "
                    "a pooler such as PgBouncer that hands each transaction to another session does that. Name the "
                    "address of PostgreSQL itself."
                )
            trial = study.study.ask({"number": FloatDistribution(0, 1)})
            trial.set_user_attr("trial", "value")
            study.study.tell(trial, 0.5)
        told = study.trial(0)
        if (told.value, told.user_attrs.get("trial")) != (0.5, "value"):
            raise SweepError(f"{hide_password(uri)} does not return the trial that it was given.")
    finally:
        optuna.delete_study(study_name=name, storage=study.storage)
        lock_file(uri, name).unlink(missing_ok=True)


def _takes_lock(uri: str, name: str) -> bool:
    """Return whether a second session gets the lock of a study that a first one holds."""
    with create_engine(uri, poolclass=NullPool).connect() as connection:
        got = connection.execute(text("SELECT pg_try_advisory_lock(:number)"), {"number": lock_number(name)})
        return bool(got.scalar())


def _there(file: Path) -> Path:
    """Return the folder of a file, or the nearest above it that is there."""
    return next(folder for folder in file.parents if folder.is_dir())
