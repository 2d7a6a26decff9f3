"""The one logger, and how to write to the run's log file alone."""

from __future__ import annotations

import logging
import sys

from astroclf.util.text import visible

log = logging.getLogger("astroclf")


def log_to_file(message: str, level: int = logging.INFO) -> None:
    """Write to train.log what the terminal shows in another way."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, level, "", 0, message, (), None))


class LiveStreamHandler(logging.StreamHandler):
    """Logs to the sys.stdout of the moment, so that lines appear above a live bar and not inside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record without what would change the terminal."""
        return visible(super().format(record), keep="\n\t")

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record to what is sys.stdout now."""
        self.stream = sys.stdout
        super().emit(record)
