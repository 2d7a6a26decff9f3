"""The ceilings of a device, measured; and the floor that they set under a training step, counted from the network."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from device.race import Scale
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

TIMED = 20


def ceilings(scale: Scale) -> dict[str, float]:
    """Measure a large bf16 matrix product on random data, and a copy on the device, read and written bytes counted."""
    side = scale.matrix
    left, right = (torch.randn(side, side, device=scale.device, dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)
    multiply = _median_seconds(lambda: torch.mm(left, right, out=out), scale)
    source = torch.randint(0, 255, (scale.copied,), device=scale.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    copy = _median_seconds(lambda: target.copy_(source), scale)
    return {"bf16_flops": 2 * side**3 / multiply, "bytes_per_second": 2 * scale.copied / copy}


def _median_seconds(work: Callable[[], Any], scale: Scale) -> float:
    for _ in range(3):
        work()
    seconds = []
    for _ in range(TIMED):
        if scale.on_cuda:
            began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            began.record()
            work()
            ended.record()
            ended.synchronize()
            seconds.append(began.elapsed_time(ended) / 1000)
        else:
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


class Counted(TorchDispatchMode):
    """Counts of each operation in the block its FLOPs and the bytes of its tensors, each read or written once.

    Attributes
    ----------
    operations : list of (int, int)
        FLOPs and bytes of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[tuple[int, int]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if func.is_view or "empty" in func.__name__:
            return result
        flops = flop_registry.get(func.overloadpacket)
        written = [
            value
            for argument, value in zip(func._schema.arguments, args, strict=False)
            if argument.alias_info is not None and argument.alias_info.is_write
        ]
        changed = {id(tensor) for tensor in _tensors(written)}
        new = [tensor for tensor in _tensors(result) if id(tensor) not in changed]
        moved = sum(_bytes(tensor) for tensor in (*_tensors((args, kwargs)), *_tensors(written), *new))
        self.operations.append((flops(*args, **kwargs, out_val=result) if flops is not None else 0, moved))
        return result


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    return (leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor))


def _bytes(tensor: torch.Tensor) -> int:
    return tensor.numel() * tensor.element_size()


class Work(NamedTuple):
    """What an operation does for each image of a batch, and what whatever the batch: weights, their optimizer."""

    flops_an_image: float
    bytes_an_image: float
    flops: float
    bytes: float


def counted(step_of: Callable[[int], Callable[[int], None]], images: int) -> list[Work]:
    """Count the operations of a step, from one of `images` and one of twice as many; `step_of` gives such a step."""
    seen = []
    for count in (images, 2 * images):
        step = step_of(count)
        step(1)  # in which the optimizer makes what it keeps
        with Counted() as mode:
            step(1)
        seen.append(mode.operations)
    return [
        Work((two[0] - one[0]) / images, (two[1] - one[1]) / images, 2 * one[0] - two[0], 2 * one[1] - two[1])
        for one, two in zip(*seen, strict=True)
    ]


def floors(work: list[Work], images: int, ceiling: dict[str, float]) -> dict[str, float]:
    """Return how few seconds a step of `images` can take on a device with these ceilings.

    Returns
    -------
    dict
        ``one_by_one_seconds``: each operation reads and writes its tensors in the device's memory, as in eager.
        ``fused_seconds``: only convolutions and matrix products do, all between being part of them. ``flops``,
        ``bytes``, ``fused_bytes``: what was counted.
    """
    each = [(w.flops + images * w.flops_an_image, w.bytes + images * w.bytes_an_image) for w in work]
    heavy = [(flops, moved) for flops, moved in each if flops]
    flops_rate, bytes_rate = ceiling["bf16_flops"], ceiling["bytes_per_second"]

    def seconds(operations: list[tuple[float, float]]) -> float:
        return sum(max(flops / flops_rate, moved / bytes_rate) for flops, moved in operations)

    return {
        "one_by_one_seconds": seconds(each),
        "fused_seconds": seconds(heavy),
        "flops": sum(flops for flops, _ in each),
        "bytes": sum(moved for _, moved in each),
        "fused_bytes": sum(moved for _, moved in heavy),
    }
