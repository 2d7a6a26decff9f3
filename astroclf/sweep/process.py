"""A worker of a sweep as a process of this machine, which its coordinator speaks to through a pipe."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from astroclf.sweep.worker import Answer, work
from astroclf.util.output import print_to_file
from astroclf.util.text import signal_name


class WorkerProcess:
    """One worker as its pool knows it: a process, and whether it is at work.

    Parameters
    ----------
    plan
        The pickled `SweepPlan`.
    folder
        The sweep's folder; the process's output goes below it.
    number, workers
        Which of how many on this machine.
    key
        See `SharedStudy.claim`.
    """

    def __init__(self, plan: bytes, folder: Path, number: int, workers: int, key: str) -> None:
        context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA, and shares locks
        self.connection: Connection
        self.connection, theirs = context.Pipe()
        self.log = folder / "workers" / f"{number}.log"
        self.process: BaseProcess = context.Process(
            target=entry, args=(work, self.log, theirs, plan, number, workers, key), name=f"sweep-worker-{number}"
        )
        self.process.start()
        theirs.close()
        self.number, self.key, self.busy = number, key, False

    def send(self, *command: Any) -> None:
        """Send a command, whose answer is waited for from now on."""
        with contextlib.suppress(OSError):  # of one that has just died: seen at the next look
            self.connection.send(command)
        self.busy = True

    def answer(self) -> Answer | None:
        """Return what the worker has to say, if it says anything; its death is an answer too."""
        try:
            if self.connection.poll():
                answer: Answer = self.connection.recv()
                self.busy = False
                return answer
        except (EOFError, OSError):
            pass
        if self.process.is_alive():
            return None
        self.busy = False
        return "died", _how_it_ended(self.process.exitcode)

    def stop(self, save: bool) -> None:
        """Ask the process to end, at once with its trial saved, or when it has nothing to do."""
        if save and self.busy:
            self.process.terminate()  # SIGTERM: the trial saves its state
        self.connection.close()  # it ends when it next listens, or speaks

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        self.process.join(seconds)

    def kill(self) -> None:
        """End it at once, if it has not ended."""
        if self.process.is_alive():
            self.process.kill()
        self.process.join()


def _how_it_ended(exit_code: int | None) -> str:
    name = signal_name(exit_code)
    return f"{name}: often the system, out of memory" if name == "SIGKILL" else name or f"exit code {exit_code}"


def redirect_output(path: Path) -> None:
    """Send everything that this process or a library of it prints to a file: the terminal shows the sweep's table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    print_to_file(path)
    logging.getLogger().setLevel(logging.INFO)


def entry(target: Callable[..., None], output: Path, *arguments: Any) -> None:
    """Begin a new process: send its output to a file, and call `target`."""
    redirect_output(output)
    target(*arguments)
