"""A contender in a process of its own: what one tells the C library, or the threads, is not told to the others."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["device.training"])


class Apart:
    """Takes steps in a process that ends with this one; its errors are raised here.

    Parameters
    ----------
    prepare
        Builds the contender there, and returns what takes so many steps; picklable.
    """

    def __init__(self, prepare: Callable[[], Callable[[int], None]]) -> None:
        self._here, there = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_serve, args=(there, prepare), daemon=True)
        process.start()
        there.close()
        self._answer()

    def __call__(self, steps: int) -> None:
        """Take so many steps."""
        self._here.send(steps)
        self._answer()

    def _answer(self) -> None:
        try:
            error = self._here.recv()
        except EOFError:
            error = RuntimeError("its process died")
        if error is not None:
            raise error


def _serve(here: Connection, prepare: Callable[[], Callable[[int], None]]) -> None:
    try:
        run = prepare()
        while True:
            here.send(None)
            run(here.recv())
    except EOFError:  # nobody asks any more
        return
    except ImportError as error:
        here.send(ImportError(str(error)))
    except Exception as error:
        here.send(RuntimeError(f"{type(error).__name__}: {error}"))
