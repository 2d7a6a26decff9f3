"""Training steps on a GPU as CUDA graphs: recorded once, then replayed without a launch of each of their kernels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any

import torch
from torch import nn

from astroclf.data.loader import Batch, Partners
from astroclf.util.logs import log

EAGER_STEPS = 3  # of a kind, before it is recorded: libraries start, kernels are chosen, memory is found

Sums = dict[str, torch.Tensor]
Step = Callable[[Sequence[Batch]], tuple[Sums, torch.Tensor]]


class StepReplay:
    """Steps that are recorded where their kind comes again, and taken as they are until then.

    A small batch takes a GPU less time than it takes a CPU to launch some hundred kernels, one by one. A replayed step
    runs the same kernels on the same numbers, so it gives the same bits.

    Parameters
    ----------
    step
        Takes an optimizer step over some batches, without waiting for the device; returns the sums of what was measured
        and the norm of the gradient, which the next replay overwrites.
    parameters
        Of the model: which of them learn is part of a step's kind.
    """

    def __init__(self, step: Step, parameters: Sequence[nn.Parameter]) -> None:
        self.step, self._parameters = step, parameters
        self._taken: Counter[Hashable] = Counter()
        self._recorded: dict[Hashable, _Recording] = {}
        self._can_record = True
        self._pool = torch.cuda.graph_pool_handle()  # of all kinds: one is done with its memory when the next begins

    def take(self, batches: Sequence[Batch]) -> tuple[Sums, torch.Tensor]:
        """Take a step over all images of `batches`."""
        kind = self._kind(batches)
        if kind not in self._recorded and self._can_record and self._taken[kind] >= EAGER_STEPS:
            self._record(kind, batches)
        if kind in self._recorded:
            return self._recorded[kind].replay(batches)
        self._taken[kind] += 1
        return self.step(batches)

    def _record(self, kind: Hashable, batches: Sequence[Batch]) -> None:
        try:
            self._recorded[kind] = _Recording(self.step, batches, self._pool)
        except RuntimeError as error:  # nothing has run, only been written down: the step is taken as before
            self._can_record = False
            for parameter in self._parameters:
                parameter.grad = None
            log.warning(
                "The steps of this network cannot be replayed as a CUDA graph, and are launched kernel by kernel: %s. "
                "trainer.cuda_graph=false does not try it.", " ".join(str(error).split())[:200],
            )  # fmt: skip

    def _kind(self, batches: Sequence[Batch]) -> Hashable:
        shapes = tuple(tuple((each.shape, each.dtype) for each in batch.on_device()) for batch in batches)
        mixed = tuple((batch.targets_BC is None, batch.partners is None) for batch in batches)
        return shapes, mixed, tuple(parameter.requires_grad for parameter in self._parameters)


class _Recording:
    """One kind of step as a graph, and the places in memory that it reads its batches from and leaves its sums at."""

    def __init__(self, step: Step, batches: Sequence[Batch], pool: Any) -> None:
        self._batches = [_map(torch.clone, batch) for batch in batches]
        self._graph = torch.cuda.CUDAGraph()
        # Threads that read ahead go on pinning memory: that is theirs, and none of the recording.
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            self._sums, self._norm = step(self._batches)

    def replay(self, batches: Sequence[Batch]) -> tuple[Sums, torch.Tensor]:
        for mine, given in zip(self._batches, batches, strict=True):
            for place, tensor in zip(mine.on_device(), given.on_device(), strict=True):
                place.copy_(tensor)
        self._graph.replay()
        return self._sums, self._norm


def _map(function: Callable[[torch.Tensor], torch.Tensor], batch: Batch) -> Batch:
    """Return the batch with each of its tensors changed."""
    new: Iterator[torch.Tensor] = iter([function(each) for each in batch.on_device()])
    images_BCHW, labels_B = next(new), next(new)
    targets_BC = None if batch.targets_BC is None else next(new)
    if batch.partners is None:
        return Batch(images_BCHW, labels_B, batch.rows_B, targets_BC)
    partners = Partners(next(new), None if batch.partners.targets_BC is None else next(new), next(new))
    return Batch(images_BCHW, labels_B, batch.rows_B, targets_BC, partners)
