"""Functions of tensors on a GPU as CUDA graphs: recorded once, then replayed without a launch of each kernel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from astroclf.util.lazy import lazy_import
from astroclf.util.logs import log

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_import("torch")

EAGER_CALLS = 3  # of a kind, before it is recorded: libraries start, kernels are chosen, memory is found

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
                self._can_record = False
                self._tidy()
                log.warning(
                    "%s cannot be replayed as a CUDA graph, and kernels are launched one by one: %s. "
                    "trainer.cuda_graph=false does not try it.", self._name, " ".join(str(error).split())[:200],
                )  # fmt: skip
        if kind in self._recorded:
            output: Output = self._recorded[kind].replay(given)
            return output
        self._calls[kind] += 1
        return function(given)


class _Recording:
    """A graph, and the places in memory that it reads from and leaves its output at."""

    def __init__(self, function: Callable[[Sequence[torch.Tensor]], Any], given: Sequence[torch.Tensor], pool: Any):
        self._places = [each.clone() for each in given]
        self._graph = torch.cuda.CUDAGraph()
        # Threads that read ahead go on pinning memory: that is theirs, and none of the recording.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._output = function(self._places)

    def replay(self, given: Sequence[torch.Tensor]) -> Any:
        for place, each in zip(self._places, given, strict=True):
            place.copy_(each)
        self._graph.replay()
        return self._output
