"""Training one configuration: whole, from config to registered model, or fitted only, as a trial of a sweep is."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from astroclf.config.resume import resumed_config
from astroclf.engine.signals import signal_of, terminable
from astroclf.errors import AstroclfError, Interrupted
from astroclf.run.build import ProcessCache, TrialContext, opened_run
from astroclf.run.finish import finish, trained_metrics
from astroclf.run.folder import RunFolder, resume_command
from astroclf.run.preview import draw_augmented, write_summary
from astroclf.settings.config import Config
from astroclf.util.logs import log
from astroclf.util.ranks import ALONE, Ranks, joined, launch

TOLD_FIRST = 3.0  # seconds


def train(
    config: Config, folder: RunFolder, command: str, cache: ProcessCache | None = None, ranks: Ranks = ALONE
) -> dict[str, Any]:
    """Train (or go on training), test, record and register; return the metrics.

    Parameters
    ----------
    command
        What the user typed, for the records.
    cache
        Of a process that runs several trainings.
    ranks
        The processes that share the training: those beside the first one are done when it is, and return what its best
        validation gave.

    Raises
    ------
    AstroclfError
        Whatever a user can cause; what was written before is kept, and the MLflow run is closed.
    """
    metrics = ranks.from_first(lambda: folder.metrics() if folder.checkpoint is not None else None)
    if metrics and "test/accuracy" in metrics:  # a trial of a sweep has metrics, but is not tested yet
        log.info("%s is complete (it has its metrics.json): nothing is left to do.", folder.path)
        return metrics
    cache = cache or ProcessCache()
    if not ranks.leads:
        with opened_run(config, folder, command, cache, TrialContext(), ranks) as run:
            return run.trainer.fit().best
    with alone(folder), opened_run(config, folder, command, cache, TrialContext(), ranks) as run:
        write_summary(run)
        draw_augmented(run)
        finish(run, run.trainer.fit())
    return folder.metrics() or {}


def train_together(config: Config, folder: RunFolder, command: str) -> dict[str, Any]:
    """Train with the other processes that `torchrun` started, if there are any; called in the first of them.

    A job whose processes were started again, in whatever number, goes on with its last checkpoint.

    Raises
    ------
    AstroclfError
        As `train`.
    """
    with joined() as ranks:
        begun = launch().job and folder.checkpoint is None and folder.last_checkpoint.is_file()
        if begun and _words(folder.command()) == _words(command):  # of a job whose processes were started again
            config, folder = resumed_config(Config, folder.path, str(folder.path)), RunFolder.resumed(str(folder.path))
        config, folder, command = ranks.from_first(lambda: (config, folder, command))
        return train(config, folder, command, ranks=ranks)


def follow() -> int:
    """Take part in the training that the first process of a job leads; return the exit status.

    Nothing is printed but what the first process does not know: why this one cannot go on.
    """
    logging.getLogger().addHandler(logging.NullHandler())
    with open(os.devnull, "w") as nowhere, terminable():
        sys.stdout = nowhere  # progress bars of this process, too
        try:
            with joined() as ranks:
                try:
                    given: tuple[Config, RunFolder, str] = ranks.from_first()
                    train(*given, ranks=ranks)
                except Interrupted as stop:
                    return stop.exit_code
                except AstroclfError:
                    time.sleep(TOLD_FIRST)  # by then this process is ended, where the first one has said it
                    raise
        except KeyboardInterrupt as stop:
            return 128 + signal_of(stop)
        finally:
            sys.stdout = sys.__stdout__
    return 0


def fit(config: Config, folder: RunFolder, command: str, cache: ProcessCache, context: TrialContext) -> dict[str, Any]:
    """Train and validate (or go on) as a trial of a sweep, neither tested nor registered; return the metrics.

    Resumed with `train`, the run is tested, recorded and registered.

    Raises
    ------
    AstroclfError
        As `train`.
    """
    if folder.checkpoint is not None and (metrics := folder.metrics()):
        return metrics
    with alone(folder):
        with opened_run(config, folder, command, cache, context) as run:
            fitted = run.trainer.fit()
        # Last: one that has it is not looked at again, and its MLflow run must be closed.
        folder.write_metrics(trained_metrics(run, fitted))
    return folder.metrics() or {}


def _words(command: str) -> str:
    """Return a command without what started it, which says how many processes there were."""
    return command.partition("astroclf")[2]


@contextmanager
def alone(folder: RunFolder) -> Iterator[None]:
    """Hold the folder's lock, and say how to go on when Ctrl-C or SIGTERM ends the block."""
    with folder.locked(), terminable():
        try:
            yield
        except KeyboardInterrupt as stop:
            number = signal_of(stop)
            saved = folder.last_checkpoint.is_file()
            hint = f" Go on with:\n  {resume_command(folder.path)}" if saved else " Nothing was trained yet."
            raise Interrupted(f"Stopped by {number.name}.{hint}", 128 + number) from None
