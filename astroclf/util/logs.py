"""The one logger, and how to write to the run's log file alone."""

from __future__ import annotations

import logging
import sys
from contextlib import suppress

from astroclf.util.text import visible

log = logging.getLogger("astroclf")


def log_to_file(message: str, level: int = logging.INFO) -> None:
    """Write to train.log what the terminal shows in another way."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(log.makeRecord(log.name, level, "", 0, message, (), None))


class LogFile(logging.FileHandler):
    """A log file that ends no work: where the disk refuses its lines they are lost, and that is said once."""

    lost = False

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it as lost."""
        try:
            super().emit(record)
        except OSError:  # the file is opened by its first record
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say once that lines are lost, and why; any other error is a fault of the program."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
        elif not self.lost:
            self.lost = True
            log.warning("%s lacks lines from here on: %s.", self.baseFilename, error.strerror or error)

    def close(self) -> None:
        """Stop writing, whatever the last lines meet."""
        with suppress(OSError):
            super().close()


class LiveStreamHandler(logging.StreamHandler):
    """Logs to the sys.stdout of the moment, so that lines appear above a live bar and not inside it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write the record without what would change the terminal."""
        return visible(super().format(record), keep="\n\t")

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record to what is sys.stdout now."""
        self.stream = sys.stdout
        super().emit(record)
