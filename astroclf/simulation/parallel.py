"""Pictures computed on all cores, and handed on in order."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from astroclf.util.progress import ProgressBar

Result = TypeVar("Result")


def in_order(
    compute: Callable[[int], Result], count: int, *, num_workers: int | None, title: str, progress: bool
) -> Iterator[Result]:
    """Yield ``compute(0)`` to ``compute(count - 1)`` in this order, computed in several threads.

    Threads rather than processes: NumPy and OpenCV release the interpreter lock, nothing has to be pickled, and a
    script without a main guard works. No more than a few results per thread wait in memory.

    Parameters
    ----------
    num_workers : int or None
        Threads; None takes the cores this process may use. The results do not depend on it.
    progress : bool
        Show progress on stderr.
    """
    threads = num_workers or usable_cores()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="simulate")
    waiting: deque[Future[Result]] = deque()
    try:
        with ProgressBar(title, count, enabled=progress) as bar:
            for index in range(count):
                waiting.append(pool.submit(compute, index))
                if len(waiting) >= 4 * threads:
                    yield waiting.popleft().result()
                    bar.advance()
            while waiting:
                yield waiting.popleft().result()
                bar.advance()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def usable_cores() -> int:
    """Cores that this process may run on (fewer than the machine has under SLURM or taskset)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
