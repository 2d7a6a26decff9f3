"""The one logger, and how to write to the run's log file alone."""

from __future__ import annotations

import logging

log = logging.getLogger("astroclf")


def log_to_file(message: str, level: int = logging.INFO) -> None:
    """Write to train.log what the terminal shows in another way."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, level, "", 0, message, (), None))
