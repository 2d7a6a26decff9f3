"""Convolutions of a training step on a CPU in bf16, each computed in the way that is the fastest there.

Torch's own kernels (oneDNN) are near the machine's limit where images are large, and up to four times slower than a
matrix product where few positions are left, as in the last stages of a ResNet: there the gradient of the weights most
of all. The two ways give the same to the rounding of bf16; `benchmarks/cpu.py` shows what the choice is worth.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from astroclf.errors import AstroclfError
from astroclf.util.atomic import write_text
from astroclf.util.logs import log
from astroclf.util.threads import processor

OWN, MATRIX = "own", "matrix"  # torch's own kernel, or a product with a matrix of what each position sees
FORWARD, OF_IMAGES, OF_WEIGHTS = "forward", "gradient of images", "gradient of weights"
LARGEST_MATRIX = 32 << 20  # bytes: beyond, its making costs more than it can save
TIMED, WORTH = 3, 0.9  # passes of each way, and the share of the time of torch's own that another may take

Pair = tuple[int, int]


class Convolutions(TorchFunctionMode):
    """Within this context, convolutions of a training in bf16 are computed in the way that is chosen for each.

    The choice is made by the clock when a shape is first met, once for each direction, and holds: the same choices
    give the same bits. What neither fits (groups, dilation, large images, float32) torch computes as ever, and what
    gradient checkpointing computes again.

    Parameters
    ----------
    file : Path, optional
        Where the choices of earlier runs on this kind of machine are, and new ones go. One that cannot be read or
        written is done without.

    Attributes
    ----------
    choices : dict of str to str
        The way, ``own`` or ``matrix``, of each direction and shape that was met. Taken up from a checkpoint, they make
        the steps that follow bit-equal to what they would have been.
    """

    def __init__(self, file: Path | None = None) -> None:
        super().__init__()
        self.file = file
        self.choices: dict[str, str] = {}

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Compute a convolution in its own way, and let torch do everything else."""
        kwargs = kwargs or {}
        if func is torch.conv2d and torch.is_grad_enabled():
            call = _Call.of(*args, **kwargs)
            if call is not None:
                with torch.autocast("cpu", enabled=False):
                    return _Convolution.apply(*call.tensors(), call.stride, call.padding, self)
        return func(*args, **kwargs)

    def way(self, key: str, ways: Mapping[str, Callable[[], object]]) -> str:
        """Return the way of a direction and shape, timed now where nobody has before."""
        if key not in self.choices:
            self.choices[key] = self._remembered(key, ways) or self._timed(key, ways)
        return self.choices[key]

    def _timed(self, key: str, ways: Mapping[str, Callable[[], object]]) -> str:
        seconds = {name: _seconds(way) for name, way in ways.items()}
        chosen = MATRIX if seconds[MATRIX] < WORTH * seconds[OWN] else OWN
        if meanwhile := self._remembered(key, ways):
            return meanwhile
        if self.file is not None:
            with suppress(AstroclfError, OSError):  # a full disk, a folder of somebody else's: then for this run alone
                self.file.parent.mkdir(parents=True, exist_ok=True)
                known = _read(self.file)
                known.setdefault(machine(), {})[key] = chosen
                write_text(self.file, json.dumps(known, indent=1, sort_keys=True) + "\n")
        log.debug("%s: %s (%s)", key, chosen, ", ".join(f"{name} {s * 1e3:.2f} ms" for name, s in seconds.items()))
        return chosen

    def _remembered(self, key: str, ways: Iterable[str]) -> str | None:
        """Return what another run chose on this kind of machine, if that is one of these ways."""
        known = {} if self.file is None else _read(self.file).get(machine(), {})
        return way if (way := known.get(key)) is not None and way in ways else None


@dataclass(frozen=True, eq=False)
class _Call:
    """A call of ``conv2d`` that both ways can compute."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: Pair

    @classmethod
    def of(
        cls,
        input: Tensor,
        weight: Tensor,
        bias: Tensor | None = None,
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
    ) -> _Call | None:
        """Return the call, or None where torch's own kernel is the only way, or the better one for sure."""
        if groups != 1 or pair(dilation) != (1, 1) or isinstance(padding, str) or input.dim() != 4:
            return None
        in_bf16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        if not in_bf16 or input.device.type != "cpu" or not (input.requires_grad or weight.requires_grad):
            return None
        call = cls(input, weight, bias, pair(stride), pair(padding))
        return call if 2 * call.positions * weight[0].numel() <= LARGEST_MATRIX else None

    @property
    def positions(self) -> int:
        """How many positions the images of the batch have in the output."""
        sides = zip(self.x.shape[2:], self.weight.shape[2:], self.stride, self.padding, strict=True)
        high, wide = (output_side(*each) for each in sides)
        return self.x.shape[0] * max(high, 0) * max(wide, 0)

    def tensors(self) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return images, weight and bias as autocast hands them to torch's own kernel."""
        bias = None if self.bias is None else self.bias.to(torch.bfloat16)
        return self.x.to(torch.bfloat16), self.weight.to(torch.bfloat16), bias


class _Convolution(torch.autograd.Function):
    """A convolution whose directions are computed in the ways that `Convolutions` says."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: Pair, padding: Pair, chosen: Convolutions
    ) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.of = stride, padding, chosen, bias is not None
        ways = {
            OWN: lambda: F.conv2d(x, weight, bias, stride, padding),
            MATRIX: lambda: _product(x, weight, bias, stride, padding),
        }
        return ways[chosen.way(_key(FORWARD, x, weight, stride, padding), ways)]()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, chosen, has_bias = ctx.of
        with_images, with_weights, with_bias = ctx.needs_input_grad[:3]

        def own(*wanted: bool) -> tuple[Tensor | None, ...]:
            sizes = [weight.shape[0]] if has_bias else None
            grads: tuple[Tensor | None, ...] = torch.ops.aten.convolution_backward(
                gradient, x, weight, sizes, stride, padding, (1, 1), False, (0, 0), 1, wanted
            )
            return grads

        ways: dict[str, dict[str, Callable[[], Tensor | None]]] = {
            OF_IMAGES: {
                OWN: lambda: own(True, False, False)[0],
                MATRIX: lambda: _product(gradient, _turned(weight), None, (1, 1), _around(weight, padding)),
            },
            OF_WEIGHTS: {
                OWN: lambda: own(False, True, False)[1],
                MATRIX: lambda: _weight_gradient(gradient, x, weight, stride, padding),
            },
        }
        if stride != (1, 1) or min(_around(weight, padding)) < 0:  # the gradient would have to be spread out first
            ways[OF_IMAGES].pop(MATRIX)
        found = dict.fromkeys(ways)
        for direction, wanted in ((OF_IMAGES, with_images), (OF_WEIGHTS, with_weights)):
            if wanted and len(ways[direction]) > 1:
                way = chosen.way(_key(direction, x, weight, stride, padding), ways[direction])
                found[direction] = ways[direction][way]() if way != OWN else None
        apart = with_bias and found[OF_WEIGHTS] is not None  # to compute it, oneDNN would compute the weights' again
        rest = [
            with_images and found[OF_IMAGES] is None,
            with_weights and found[OF_WEIGHTS] is None,
            with_bias and not apart,
        ]
        of_images, of_weights, of_bias = own(*rest) if any(rest) else (None, None, None)
        return (
            found[OF_IMAGES] if found[OF_IMAGES] is not None else of_images,
            found[OF_WEIGHTS] if found[OF_WEIGHTS] is not None else of_weights,
            gradient.sum((0, 2, 3)) if apart else of_bias,
            None, None, None,
        )  # fmt: skip


def _seen(x_BCHW: Tensor, kernel: Pair, stride: Pair, padding: Pair) -> tuple[Tensor, tuple[int, int, int]]:
    """Return what each position of the output sees, a row (kernel height x width x C) each, and (B, height, width)."""
    x_BHWC = x_BCHW.permute(0, 2, 3, 1)
    if any(padding):
        x_BHWC = F.pad(x_BHWC, (0, 0, padding[1], padding[1], padding[0], padding[0]))
    windows = x_BHWC.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1]).permute(0, 1, 2, 4, 5, 3)
    images, high, wide = windows.shape[:3]
    return windows.reshape(images * high * wide, -1), (images, high, wide)


def _product(x_BCHW: Tensor, weight_OCHW: Tensor, bias_O: Tensor | None, stride: Pair, padding: Pair) -> Tensor:
    """Compute a convolution as a matrix product; in memory, the channels come last."""
    seen, shape = _seen(x_BCHW, _kernel(weight_OCHW), stride, padding)
    filters = weight_OCHW.permute(0, 2, 3, 1).reshape(len(weight_OCHW), -1)
    out = seen @ filters.t() if bias_O is None else torch.addmm(bias_O, seen, filters.t())
    return out.view(*shape, -1).permute(0, 3, 1, 2)


def _weight_gradient(gradient_BOHW: Tensor, x_BCHW: Tensor, weight_OCHW: Tensor, stride: Pair, padding: Pair) -> Tensor:
    kernel, (out, channels) = _kernel(weight_OCHW), weight_OCHW.shape[:2]
    seen, _ = _seen(x_BCHW, kernel, stride, padding)
    flat = gradient_BOHW.permute(0, 2, 3, 1).reshape(-1, out)
    return (flat.t() @ seen).view(out, *kernel, channels).permute(0, 3, 1, 2)


def _turned(weight_OCHW: Tensor) -> Tensor:
    """Return the filters that lead a gradient back to the images: turned by half a circle, input and output swapped."""
    return weight_OCHW.flip(2, 3).transpose(0, 1)


def _around(weight_OCHW: Tensor, padding: Pair) -> Pair:
    """Return the padding with which `_turned` filters lead back to the size of the images."""
    return weight_OCHW.shape[2] - 1 - padding[0], weight_OCHW.shape[3] - 1 - padding[1]


def _kernel(weight_OCHW: Tensor) -> Pair:
    return weight_OCHW.shape[2], weight_OCHW.shape[3]


def output_side(side: int, kernel: int, stride: int, padding: int) -> int:
    """Return how many positions a side of so many pixels has in the output."""
    return (side + 2 * padding - kernel) // stride + 1


def pair(value: int | Sequence[int]) -> Pair:
    """Return a number for each of two sides, down and across, as torch's layers and calls may have one for both."""
    if isinstance(value, int):
        return value, value
    first, *rest = value
    return int(first), int(rest[0] if rest else first)


def _key(direction: str, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> str:
    shapes = ["x".join(map(str, each)) for each in (x.shape, weight.shape, stride, padding)]
    return f"{direction}: images {shapes[0]}, filters {shapes[1]}, stride {shapes[2]}, padding {shapes[3]}"


def _seconds(way: Callable[[], object]) -> float:
    """Return the least of a few times that a way took, after one that is not counted."""
    way()
    times = []
    for _ in range(TIMED):
        began = time.perf_counter()
        way()
        times.append(time.perf_counter() - began)
    return min(times)


def machine() -> str:
    """Say on which kind of machine, and with how many threads, a choice was made."""
    return f"{processor()}, {torch.get_num_threads()} threads, torch {torch.__version__}"


def _read(file: Path) -> dict[str, dict[str, str]]:
    """Return the choices of each kind of machine; none where the file is not there or is not what was written."""
    with suppress(OSError, ValueError):
        read = json.loads(file.read_text())
        if isinstance(read, dict) and all(isinstance(each, dict) for each in read.values()):
            return read
    return {}
