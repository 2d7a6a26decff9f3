"""A sign of life from a running trial, for workers on hosts that do not see its locks."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from optuna.trial import Trial

HEARTBEAT_SECONDS = 60.0


class Heartbeat:
    """While active, says now and then that a trial's process is alive; for workers on other hosts."""

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
