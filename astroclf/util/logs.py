"""The one logger, and how to write to the run's log file alone."""

from __future__ import annotations

import logging
import sys

log = logging.getLogger("astroclf")


def log_to_file(message: str, level: int = logging.INFO) -> None:
    """Write to train.log what the terminal shows in another way."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, level, "", 0, message, (), None))


class LiveStreamHandler(logging.StreamHandler):
    """Logs to the sys.stdout of the moment, so that lines appear above a live bar and not inside it."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record to what is sys.stdout now."""
        self.stream = sys.stdout
        super().emit(record)
