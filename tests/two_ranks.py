"""Two processes that share a training, as `torchrun` would start them, for functions of tests."""

from __future__ import annotations

import multiprocessing
import os
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from astroclf.util.ranks import joined
from tests.processes import free_port

COUNT = 2


class TwoRanks:
    """The processes, each of which carries out what `run` is given."""

    def __init__(self) -> None:
        port = free_port()
        context = multiprocessing.get_context("spawn")
        self.ends, self.processes = [], []
        for rank in range(COUNT):
            mine, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, rank, port), daemon=True)
            process.start()
            self.ends.append(mine)
            self.processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """Call ``function(ranks, *arguments)`` in both processes; return what it returned in each."""
        for end in self.ends:
            end.send((function, arguments))
        answers = []
        for end in self.ends:
            assert end.poll(120), "no answer"
            answers.append(end.recv())
        failed = [text for kind, text in answers if kind == "failed"]
        assert not failed, "\n".join(failed)
        return [value for _, value in answers]

    def close(self) -> None:
        """End the processes."""
        for end in self.ends:
            end.close()
        for process in self.processes:
            process.join(30)
            process.kill()


def environment(rank: int, port: int) -> dict[str, str]:
    """Return what `torchrun` puts into the environment of a process on one host."""
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": COUNT, "LOCAL_WORLD_SIZE": COUNT, "GROUP_WORLD_SIZE": 1}
    return {name: str(value) for name, value in {**names, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}.items()}


def _serve(end: Connection, rank: int, port: int) -> None:
    os.environ.update(environment(rank, port))
    with joined() as ranks:
        while True:
            try:
                function, arguments = end.recv()
            except EOFError:
                return
            try:
                end.send(("done", function(ranks, *arguments)))
            except Exception:
                end.send(("failed", traceback.format_exc()))
