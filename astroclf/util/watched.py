"""Calls in a child process, one after the other, each with a time limit: what hangs is killed, and the rest goes on."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from astroclf.errors import AstroclfError
from astroclf.util.output import print_to_file
from astroclf.util.text import signal_name

START_SECONDS = 120.0  # for a new process to import what the calls need, from a slow disk
LEAVE_SECONDS = 10.0  # for libraries to take leave at the end of a process
_ERROR_LENGTH = 400


@dataclass(frozen=True)
class Call:
    """Something to do in another process, which can be pickled.

    Attributes
    ----------
    limit
        Seconds after which it counts as hanging.
    """

    action: Callable[[], str]
    limit: float


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    Attributes
    ----------
    text
        What it returned, or what went wrong.
    in_words
        Whether the error is an `AstroclfError`, which says what to do.
    """

    works: bool
    text: str
    seconds: float
    in_words: bool = False


def answers(calls: Sequence[Call]) -> Iterator[Answer]:
    """Yield what comes of each call; after one that hung or ended its process, the next has a process of its own."""
    left = list(calls)
    while left:
        child, alive = _Child([call.action for call in left]), False
        try:
            while left:
                answer, alive = child.answer(left.pop(0).limit)
                yield answer
                if not alive:
                    break
        finally:
            child.end(LEAVE_SECONDS if alive else 0.0)


class _Child:
    """A process with calls to make; whatever it started ends with it."""

    def __init__(self, actions: Sequence[Callable[[], str]]) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
        self._connection: Connection
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, actions), daemon=False)
        self._process.start()
        theirs.close()
        self._ready = False

    def answer(self, limit: float) -> tuple[Answer, bool]:
        """Wait for the next answer; returns it, and whether the process lives."""
        started = time.monotonic()
        try:
            if not self._ready:
                self._ready = self._connection.poll(START_SECONDS) and self._connection.recv() is None
                started = time.monotonic()
            if self._connection.poll(limit):
                return self._connection.recv(), True
            text = f"It gave no answer within {limit:.0f} s"
        except (EOFError, OSError):
            self._process.join()
            code = self._process.exitcode
            text = f"The process that tried it ended: {signal_name(code) or f'exit status {code}'}"
        return Answer(False, text, time.monotonic() - started), False

    def end(self, grace: float) -> None:
        """Let the process leave, and after so many seconds kill it with compilers and whatever else it has started."""
        self._connection.close()
        self._process.join(grace)
        assert self._process.pid is not None
        if hasattr(os, "killpg"):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()


def _serve(connection: Connection, actions: Sequence[Callable[[], str]]) -> None:
    """Make the calls and send their answers; begun once all that pickled calls need is imported."""
    if hasattr(os, "setsid"):
        os.setsid()
    print_to_file(os.devnull)  # libraries talk
    connection.send(None)
    for action in actions:
        started = time.monotonic()
        try:
            works, text, in_words = True, action(), False
        except AstroclfError as error:
            works, text, in_words = False, str(error), True
        except Exception as error:
            first = next(iter(str(error).strip().splitlines()), "")[:_ERROR_LENGTH].rstrip(". ")
            works, text, in_words = False, f"{type(error).__name__}: {first}", False
        connection.send(Answer(works, text, time.monotonic() - started, in_words))
    with suppress(EOFError):
        connection.recv()
