"""Whose a trial is, as other processes see it: the lock and the claim in its folder, and its signs of life.

A process that takes a trial writes a new token into the trial's folder, and keeps it with the study. Whoever reads it
there shares a disk with that process, and learns from the folder's lock whether it lives. Whoever does not has only its
signs of life to go by. Names of hosts tell nothing of that: those of cloned machines and of containers are often equal.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.trial import FrozenTrial, Trial

from astroclf.util.atomic import write_text

HEARTBEAT_SECONDS = 60.0
LOST_SECONDS = 600.0  # a process that was silent for so long, and whose lock cannot be asked, is taken for dead
CLAIM_FILE = ".claim"


@dataclass(frozen=True)
class Claim:
    """A trial that this process is to run.

    Attributes
    ----------
    lock
        Of the trial's folder: held while the trial runs, and by nobody once its process is dead.
    token
        What the study has as the trial's ``claim`` until another process takes over.
    is_new
        Begun here, and not taken over.
    """

    trial: Trial
    params: dict[str, Any]
    folder: Path
    lock: FileLock
    token: str
    is_new: bool


def lock_folder(folder: Path) -> FileLock:
    """Take the lock of a trial's folder, which is made if it is not there.

    Raises
    ------
    Timeout
        A process that runs the trial holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".trial.lock", timeout=0)
    lock.acquire()
    return lock


def free_folder(sweep: Path, number: int) -> Path:
    """Name a folder for a trial that no other has, such as one of a study whose database is gone."""
    folder, count = sweep / str(number), 1
    while folder.exists():
        count += 1
        folder = sweep / f"{number}_{count}"
    return folder


def write_claim(folder: Path, known: Mapping[str, Any]) -> str:
    """Write a new token into a folder whose lock is held, and return it.

    The token that the study knows is kept beside it: a kill before the study has the new one changes nothing.
    """
    token = secrets.token_hex(8)
    write_text(folder / CLAIM_FILE, "".join(f"{each}\n" for each in (token, known.get("claim")) if each))
    return token


def lies_here(known: Mapping[str, Any]) -> bool:
    """Return whether this process sees the folder that a trial's process claimed, by what the study knows of it."""
    try:
        tokens = (Path(known["folder"]) / CLAIM_FILE).read_text(encoding="ascii").split()
    except (KeyError, OSError, UnicodeError):
        return False
    return known.get("claim") in tokens


def is_neighbour(known: Mapping[str, Any]) -> bool:
    """Return whether a trial's process ran on this host and disk: then the lock of its folder says whether it lives."""
    return known.get("host") == socket.gethostname() and lies_here(known)


class SilenceWatch:
    """How long running trials gave no sign of life, by this process's own clock: those of hosts may differ."""

    def __init__(self) -> None:
        self._heard: dict[int, tuple[Any, float]] = {}  # by trial: its last sign of life, and when it was new

    def seconds(self, trial: FrozenTrial) -> float:
        """Return since when a trial's last sign of life is known, which is less than it is old."""
        sign = (trial.user_attrs.get("claim"), trial.user_attrs.get("heartbeat"))
        known, since = self._heard.get(trial.number, (None, 0.0))
        if sign != known:
            since = time.monotonic()
            self._heard[trial.number] = sign, since
        return time.monotonic() - since
