"""Results in order from threads that work ahead of their consumer."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


def run_ahead(function: Callable[[Job], Result], jobs: Iterable[Job], workers: int) -> Generator[Result, None, None]:
    """``function(job)`` for every job, in order, computed by `workers` threads at most `workers` + 1 jobs ahead.

    An exception in `function` is raised where its result would have come. The threads end when the generator is
    exhausted, closed, dropped or interrupted: jobs not begun are cancelled, those under way are waited for.
    `workers` 0 computes in the caller's thread, when asked.
    """
    if workers <= 0:
        yield from map(function, jobs)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="astroclf-stream")
    pending: deque[Future[Result]] = deque()
    try:
        for job in jobs:
            pending.append(pool.submit(function, job))
            if len(pending) > workers + 1:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
