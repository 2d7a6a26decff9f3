"""Training one configuration: whole, from config to registered model, or fitted only, as a trial of a sweep is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from astroclf.engine.signals import signal_of, terminable
from astroclf.errors import Interrupted
from astroclf.run.build import ProcessCache, TrialContext, opened_run
from astroclf.run.finish import finish, trained_metrics
from astroclf.run.folder import RunFolder, resume_command
from astroclf.run.preview import draw_augmented, write_summary
from astroclf.settings.config import Config
from astroclf.util.logs import log


def train(config: Config, folder: RunFolder, command: str, cache: ProcessCache | None = None) -> dict[str, Any]:
    """Train (or go on training), test, record and register; return the metrics.

    Parameters
    ----------
    command
        What the user typed, for the records.
    cache
        Of a process that runs several trainings.

    Raises
    ------
    AstroclfError
        Whatever a user can cause; what was written before is kept, and the MLflow run is closed.
    """
    metrics = folder.metrics() if folder.checkpoint is not None else None
    if metrics and "test/accuracy" in metrics:  # a trial of a sweep has metrics, but is not tested yet
        log.info("%s is complete (it has its metrics.json): nothing is left to do.", folder.path)
        return metrics
    with alone(folder), opened_run(config, folder, command, cache or ProcessCache(), TrialContext()) as run:
        write_summary(run)
        draw_augmented(run)
        finish(run, run.trainer.fit())
    return folder.metrics() or {}


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
