"""What the terminal shows while a model trains: a live bar, or a plain line now and then where nobody watches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from astroclf.util.logs import log
from astroclf.util.terminal import console
from astroclf.util.text import clock, roughly, until

REFRESH_SECONDS = 0.5  # of the bar; the loss is fetched from the device only this often
PLAIN_SECONDS = 30.0  # between lines when the output is no terminal

WARM_UP_STEPS = 3  # of a pace: the first are slower, as memory is taken and kernels are chosen
MEASURED_SECONDS, MEASURED_STEPS = 10.0, 3  # at least
LONG = 120.0  # seconds: of shorter trainings the bar says enough


class ExpectedTime:
    """How long a training takes, told once by its first steps, and again where its pace becomes another.

    Parameters
    ----------
    total_steps
    steps_per_epoch
    validation_share
        Time of validations, as a share of that of the training steps.
    other_pace_from
        The step from which on more of the network trains.
    """

    def __init__(
        self, total_steps: int, steps_per_epoch: int, validation_share: float = 0.0, other_pace_from: float = math.inf
    ) -> None:
        self.total_steps, self.steps_per_epoch = total_steps, steps_per_epoch
        self.validation_share, self.other_pace_from = validation_share, other_pace_from
        self._first: int | None = None  # step of this process
        self._began = (0, 0.0)  # step and seconds at which measuring began
        self._told = False

    def told(self, step: int, seconds: float) -> str | None:
        """Return the sentence to tell after `step`, at which `seconds` of training have gone by; mostly None."""
        if self._first is None:
            self._first = step
        if self._first < self.other_pace_from <= step:
            self._first, self._told = step, False
        if self._told or step >= self.total_steps:
            return None
        if step - self._first < WARM_UP_STEPS:
            self._began = (step, seconds)
            return None
        steps, measured = step - self._began[0], seconds - self._began[1]
        if steps < MEASURED_STEPS or measured < MEASURED_SECONDS:
            return None
        self._told = True
        pace = (1 + self.validation_share) * measured / steps
        epochs, left = (self.total_steps - step) / self.steps_per_epoch, (self.total_steps - step) * pace
        if left < LONG:
            return None
        said = (
            f"An epoch takes about {roughly(pace * self.steps_per_epoch)}: {epochs:.3g} epochs are left, until about "
            f"{until(left)}"
        )
        changes = step < self.other_pace_from < self.total_steps
        return f"{said}, and longer, as more of the network will train." if changes else f"{said}."


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
        self._aside = 0.0  # seconds of the blocks that have ended
        self._aside_since: float | None = None  # when the block under way began

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
        self._aside_since = time.monotonic()
        yield
        self._aside, self._aside_since = self.aside_seconds, None

    @property
    def aside_seconds(self) -> float:
        """Time spent on what is no training, up to now."""
        return self._aside + (time.monotonic() - self._aside_since if self._aside_since is not None else 0.0)

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
