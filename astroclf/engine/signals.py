"""Ctrl-C and SIGTERM as a request that the loop answers between two steps, with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class StopRequest:
    """A context in which the first Ctrl-C or SIGTERM only sets `signal`; a second Ctrl-C interrupts at once.

    Outside the main thread, where Python delivers no signals, it does nothing.
    """

    signal: signal.Signals | None = None

    def __enter__(self) -> StopRequest:
        self._previous: dict[signal.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *exc: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number)


class Terminated(KeyboardInterrupt):
    """SIGTERM, raised like Ctrl-C."""

    signal = signal.SIGTERM


def signal_of(stop: BaseException) -> signal.Signals:
    """Return the signal that an interruption in a `terminable` block stands for: SIGTERM's own, else Ctrl-C's."""
    return stop.signal if isinstance(stop, Terminated) else signal.SIGINT


@contextmanager
def terminable() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` where the main thread stands, so that clean-up runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def receive(number: int, frame: FrameType | None) -> None:
        raise Terminated

    previous = signal.signal(signal.SIGTERM, receive)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
