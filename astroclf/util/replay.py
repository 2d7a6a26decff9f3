"""Functions of tensors on a GPU as CUDA graphs: recorded once, then replayed without a launch of each kernel."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

EAGER_CALLS = 3  # of a kind, before it is recorded: libraries start, kernels are chosen, memory is found
WAITS = "called a synchronizing CUDA operation"  # torch's words

_broken_off: list[torch.cuda.CUDAGraph] = []  # torch's allocators go on asking them what they record

Output = TypeVar("Output")


class Replay:
    """What is done to tensors of the same kind again and again, recorded once and replayed.

    A small batch takes a GPU less time than it takes a CPU to launch some hundred kernels, one by one. A replay runs
    the same kernels on the new numbers, so it gives the same bits.

    Parameters
    ----------
    name
        What cannot be recorded, in the sentence that says so.
    tidy
        Called where a recording fails, before it is done as ever.
    """

    def __init__(self, name: str, tidy: Callable[[], None] = lambda: None) -> None:
        self._name, self._tidy = name, tidy
        self._calls: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, _Recording] = {}
        self._can_record = True
        self._pool = torch.cuda.graph_pool_handle()  # of all kinds: one is done with its memory when the next begins

    def __len__(self) -> int:
        """Count the kinds that are recorded."""
        return len(self._recorded)

    def __call__(
        self,
        kind: Hashable,
        given: Sequence[torch.Tensor],
        function: Callable[[Sequence[torch.Tensor]], Output],
    ) -> Output:
        """Return what `function` makes of tensors on the device; the next call overwrites it.

        Parameters
        ----------
        kind
            All that makes a difference to what is done, beside the shapes and types of what is given and the numbers in
            it.
        function
            Never waits for the device, and keeps nothing that it makes.
        """
        kind = kind, tuple((each.shape, each.dtype) for each in given)
        if kind not in self._recorded and self._can_record and self._calls[kind] >= EAGER_CALLS:
            try:
                self._recorded[kind] = _Recording(function, given, self._pool)
            except RuntimeError as error:  # nothing has run, only been written down
                self._tidy()
                self._give_up(str(error))
        if kind in self._recorded:
            output: Output = self._recorded[kind].replay(given)
            return output
        self._calls[kind] += 1
        if self._can_record and self._calls[kind] == EAGER_CALLS:
            return self._heard(function, given)
        return function(given)

    def _heard(self, function: Callable[[Sequence[torch.Tensor]], Output], given: Sequence[torch.Tensor]) -> Output:
        """Call the function, and record none that waits for the device: the driver breaks such a recording off."""
        mode = torch.cuda.get_sync_debug_mode()
        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode(max(mode, 1))  # it warns, unless it raises errors already
            heard.clear()  # torch says once that this finds most waits, and not all
            try:
                output = function(given)
            finally:
                torch.cuda.set_sync_debug_mode(mode)
        waits = [said for said in heard if WAITS in str(said.message)]
        for said in heard:
            if said not in waits:
                warnings.warn_explicit(said.message, said.category, said.filename, said.lineno)
        if waits:
            self._give_up(f"{waits[0].filename}:{waits[0].lineno} waits for the GPU")
        return output

    def _give_up(self, reason: str) -> None:
        self._can_record = False
        log.warning(
            "%s cannot be replayed as a CUDA graph, and kernels are launched one by one: %s. "
            "trainer.cuda_graph=false does not try it.", self._name, " ".join(reason.split())[:200],
        )  # fmt: skip


class _Recording:
    """A graph, and the places in memory that it reads from and leaves its output at."""

    def __init__(self, function: Callable[[Sequence[torch.Tensor]], Any], given: Sequence[torch.Tensor], pool: Any):
        self._places = [each.clone() for each in given]
        self._graph = torch.cuda.CUDAGraph()
        here = torch.cuda.stream(torch.cuda.current_stream())  # torch 2.11 does not return to it from a broken one
        try:
            # Threads that read ahead go on pinning memory: that is theirs, and none of the recording.
            with here, torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
                self._output = function(self._places)
        except RuntimeError:
            _end_recording(self._graph, pool)
            raise

    def replay(self, given: Sequence[torch.Tensor]) -> Any:
        for place, each in zip(self._places, given, strict=True):
            place.copy_(each)
        self._graph.replay()
        return self._output


def _end_recording(graph: torch.cuda.CUDAGraph, pool: Any) -> None:
    """Tell torch that the driver broke a recording off: its memory and its random numbers would stay in it for good."""
    _broken_off.append(graph)
    with suppress(RuntimeError):  # torch has ended it: the error was none of the driver's
        torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), pool)
        torch._C._cuda_releasePool(torch.cuda.current_device(), pool)
    graph.reset()  # its memory
    number = torch.zeros((), device="cuda")
    with suppress(RuntimeError), torch.cuda.graph(torch.cuda.CUDAGraph(), capture_error_mode="thread_local"):
        number.add_(1)  # the end of a sound recording takes the random numbers of torch 2.11 out of the other one
