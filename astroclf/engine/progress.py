"""What the terminal shows while a model trains: a live bar, or a plain line now and then where nobody watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from astroclf.util.logs import log
from astroclf.util.terminal import console
from astroclf.util.text import clock

REFRESH_SECONDS = 0.5  # of the bar; the loss is fetched from the device only this often
PLAIN_SECONDS = 30.0  # between lines when the output is no terminal


class TrainProgress:
    """A display of epoch, step, loss, learning rate, images per second and time left."""

    def __init__(self, total_steps: int, epochs: int, first_step: int = 0) -> None:
        self.total_steps, self.epochs = total_steps, epochs
        self._first_step = first_step  # of this process: a resumed run has done some before
        self._console = console()
        self._bar: Progress | None = None
        self._next = 0.0
        self.images = 0  # seen since the start of this process
        self._started = time.monotonic()
        self.aside_seconds = 0.0  # spent on what is no training: validations, saving

    def __enter__(self) -> TrainProgress:
        self._started = time.monotonic()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(elapsed_when_finished=True),
                console=self._console,
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task("starting", total=self.total_steps, completed=self._first_step, numbers="")
        else:
            self._next = time.monotonic() + PLAIN_SECONDS
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Keep the time of the block from counting as training: that of a validation, of saving."""
        started = time.monotonic()
        yield
        self.aside_seconds += time.monotonic() - started

    @property
    def seconds(self) -> float:
        """Time spent on training itself."""
        return max(time.monotonic() - self._started - self.aside_seconds, 1e-9)

    @property
    def images_per_second(self) -> float:
        """Images a second of training itself."""
        return self.images / self.seconds

    def due(self) -> bool:
        """Tell whether `show` is wanted now; the device is asked nothing."""
        return time.monotonic() >= self._next

    def show(self, step: int, epoch: float, lr: float, loss: Callable[[], float]) -> None:
        """Show the state after `step`; `loss` is called here because fetching it waits for the device."""
        now = time.monotonic()
        self._next = now + (REFRESH_SECONDS if self._bar else PLAIN_SECONDS)
        numbers = (
            f"step {step}/{self.total_steps}  loss {loss():.4f}  lr {lr:.2e}  {self.images_per_second:.0f} images/s"
        )
        where = f"epoch {min(int(epoch) + 1, self.epochs)}/{self.epochs}"
        if self._bar is not None:
            self._bar.update(self._task, completed=step, description=where, numbers=numbers)
            return
        done = step - self._first_step
        left = (self.total_steps - step) * (now - self._started) / max(done, 1)
        log.info("%s  %s  %s left", where, numbers, clock(left))
