"""The processor and its threads: how many cores there are for them, and results in order from those that work ahead."""

from __future__ import annotations

import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TypeVar

from astroclf.util.ranks import launch

Job = TypeVar("Job")
Result = TypeVar("Result")


def available_cores() -> int:
    """Count the CPU cores that this process may use: a SLURM job or a container often has fewer than the machine.

    Processes that share a training on this machine have a share of its cores each.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // launch().local_count)


@cache
def processor() -> str:
    """Name the CPU, as the system calls it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def run_ahead(
    function: Callable[[Job], Result], jobs: Iterable[Job], num_workers: int
) -> Generator[Result, None, None]:
    """Yield ``function(job)`` for every job, in order, computed by threads at most `num_workers` + 1 jobs ahead.

    Threads rather than processes: NumPy, OpenCV and zlib release the interpreter lock, nothing has to be pickled, and
    a script without a main guard works. An exception in `function` is raised where its result would have come. The
    threads end when the generator is exhausted, closed, dropped or interrupted: jobs not begun are cancelled, those
    under way are waited for. `num_workers` 0 computes in the caller's thread, when asked.
    """
    if num_workers <= 0:
        yield from map(function, jobs)
        return
    pool = ThreadPoolExecutor(num_workers, thread_name_prefix="astroclf-ahead")
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) > num_workers + 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
