"""Death at any file operation: a real end of the process in the middle of what it writes, by count or by name.

Works in a process of its own, forked or started: `die_at` patches what Python's file functions come down to, and ends
the process with `DEAD` before the chosen operation, or in the middle of it if it writes. No cleanup runs, no buffer is
flushed.
"""

from __future__ import annotations

import builtins
import io
import multiprocessing
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

DEAD = 137  # what a shell reports of a process that was killed with -9
_CALLS = ("replace", "rename", "link", "unlink", "remove", "mkdir", "rmdir", "fsync", "truncate", "ftruncate")
_WRITING = set("wax+")


class _File:
    """A file that is open for writing. Its first write counts: death in a later one leaves what that one leaves."""

    def __init__(self, file: Any, count: Callable[..., None]) -> None:
        self._file, self._count, self._written = file, count, False

    def write(self, data: Any) -> Any:
        def half() -> None:
            self._file.write(data[: len(data) // 2])
            self._file.flush()

        if not self._written:
            self._count("write", half)
            self._written = True
        return self._file.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        self._count("close")
        self._file.close()

    def __iter__(self) -> Any:
        return iter(self._file)


def die_at(number: int, below: Path, seen: Callable[[str], None] = lambda operation: None) -> None:
    """End this process at the operation of this number, from 1, on what lies below a folder; `seen` is told of each."""
    below = below.absolute()
    counted = 0

    def count(operation: str, before_death: Callable[[], object] = lambda: None) -> None:
        nonlocal counted
        counted += 1
        seen(operation)
        if counted == number:
            before_death()
            os._exit(DEAD)

    def concerns(path: Any) -> bool:
        try:
            name = os.readlink(f"/proc/self/fd/{path}") if isinstance(path, int) else os.path.abspath(os.fsdecode(path))
        except (OSError, TypeError):
            return False
        return Path(name).is_relative_to(below)

    def patched(name: str) -> Callable[..., Any]:
        original = getattr(os, name)

        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            if concerns(path):
                count(name)
            return original(path, *arguments, **options)

        return call

    for name in _CALLS:
        setattr(os, name, patched(name))
    original_open = io.open

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if not _WRITING & set(mode) or not concerns(file):
            return original_open(file, mode, *arguments, **options)
        count("open")
        return _File(original_open(file, mode, *arguments, **options), count)

    builtins.open = io.open = opened  # type: ignore[assignment]


def in_child(work: Callable[[], object]) -> int:
    """Do something in a forked process, and return its exit status: `DEAD` where `die_at` ended it."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def in_fresh_child(work: Callable[..., object], *arguments: Any) -> int:
    """Do something as `in_child` does, but in a child of a process in which nothing has been computed yet.

    Autograd refuses to work in children of a process in which it once had threads, and whether a test before began some
    is chance. What is to be done, a function of a module, and its arguments are pickled.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([work.__module__, "torch._dynamo"])  # which optimizers import: 4 s for each child
    child = context.Process(target=_alone, args=(work, *arguments))
    with mock.patch.dict(os.environ, PYTHONPATH=os.pathsep.join(filter(None, sys.path))):  # wherever we stand now
        child.start()
    child.join()
    assert child.exitcode is not None
    return child.exitcode


def _alone(work: Callable[..., object], *arguments: Any) -> None:
    import torch

    torch.set_num_threads(1)  # the same sums, to the bit, as the fixture `single_threaded` has them
    work(*arguments)
    os._exit(0)


if __name__ == "__main__":  # python -m tests.faults NUMBER FOLDER VERB WORDS…: the command, that dies
    die_at(int(sys.argv[1]), Path(sys.argv[2]), lambda operation: print(f"operation {operation}", file=sys.stderr))
    sys.argv[:] = ["astroclf", *sys.argv[3:]]
    runpy.run_module("astroclf", run_name="__main__")
