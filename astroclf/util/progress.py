"""One progress display for all that takes minutes: a bar with rate and time left, or plain lines in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from rich.filesize import decimal
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.text import Text

from astroclf.util.terminal import console
from astroclf.util.text import clock, visible

SECONDS_BETWEEN_LINES = 10.0
Item = TypeVar("Item")


class RateColumn(ProgressColumn):
    """A column that shows steps per second, such as ``812 images/s``."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self.unit = unit

    def render(self, task: Task) -> Text:
        """Write the speed of a task; nothing while it is not known."""
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} {self.unit}/s", style="progress.data.speed")


class ProgressBar:
    """A count that shows on stderr how far it has come: a bar on a terminal, a line every ten seconds elsewhere.

    Parameters
    ----------
    title
        What is being done.
    total
        Steps to do; None when unknown (a download without a length).
    unit
        What a step is; ``bytes`` is shown in kB, MB, GB.
    done
        Steps that an earlier, interrupted process already did: they count as progress, not as speed.
    enabled
        False shows nothing.
    """

    def __init__(
        self, title: str, total: int | None, unit: str = "images", *, done: int = 0, enabled: bool = True
    ) -> None:
        self.title, self.total, self.unit, self.enabled = visible(title), total, unit, enabled
        self.done = self._already_done = done
        self._started = self._last_line = time.monotonic()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        self._started = self._last_line = time.monotonic()
        if self.enabled and sys.stderr.isatty():
            counts: list[ProgressColumn] = (
                [DownloadColumn(), TransferSpeedColumn()]
                if self.unit == "bytes"
                else [MofNCompleteColumn(), RateColumn(self.unit)]
            )
            columns = [TextColumn("{task.description}", markup=False), BarColumn(), *counts, TimeRemainingColumn()]
            self._bar = Progress(*columns, console=console(stderr=True))
            self._bar.start()
            self._task = self._bar.add_task(self.title, total=self.total, completed=self.done)
        return self

    def count(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, and count each as a step once the consumer has come back from it."""
        for item in items:
            yield item
            self.advance()

    def advance(self, steps: int = 1) -> None:
        """Count `steps` as done."""
        self.done += steps
        if self._bar is not None:
            self._bar.advance(self._task, steps)
        elif self.enabled and time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._print_line()

    @property
    def rate(self) -> float:
        """Steps of this process in a second, so far."""
        return (self.done - self._already_done) / max(time.monotonic() - self._started, 1e-9)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.enabled and error is None and self.done > self._already_done:
            self._print_line()

    def _print_line(self) -> None:
        seconds, rate = time.monotonic() - self._started, self.rate
        line = f"{self.title}: {self._count(self.done)}"
        if self.total is not None:
            line += f" of {self._count(self.total)}"
        line += f" {self.unit}" if self.unit != "bytes" else ""
        line += f", {self._count(round(rate))}/s"
        if self.total is not None and self.done < self.total and rate > 0:
            line += f", {clock((self.total - self.done) / rate)} left"
        elif self.done == self.total:
            line += f", done in {seconds:.1f} s"
        print(line, file=sys.stderr, flush=True)

    def _count(self, steps: int) -> str:
        return decimal(steps) if self.unit == "bytes" else f"{steps:,}"
