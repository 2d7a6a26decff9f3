"""Convolutions of a trained network with what follows on them, in one kernel of a GPU.

Launched one by one, bias, sum and ReLU each pass over maps that a convolution has just written: more than the
convolution itself takes. On an H200 a ResNet-18 answers 512 images of 256 pixels in two thirds of the time, and one of
128 pixels in a third (experiments/speed_gpu.md).
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, fx, nn
from torch.nn import functional as F

from astroclf.models.convolutions import output_side
from astroclf.models.precision import Precision
from astroclf.models.space_to_depth import in_squares


class ConvReLU(nn.Module):
    """A convolution in half precision, what is added to it, and ReLU.

    Where cuDNN has no kernel for all of it, as on a CPU, they are computed apart.

    Parameters
    ----------
    conv : nn.Conv2d
        Without groups or dilation, padded with zeros.
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.weight, self.bias = conv.weight, conv.bias
        self.stride = conv.stride[0], conv.stride[1]
        self.padding = int(conv.padding[0]), int(conv.padding[1])
        self._in_one = True

    def forward(self, x_BCHW: Tensor, added_BCHW: Tensor | None = None) -> Tensor:
        """Compute ReLU(convolution + added)."""
        x_BCHW = x_BCHW.to(self.weight.dtype)
        alike = added_BCHW is None or self._gives_what_is_like(added_BCHW, x_BCHW)
        x_BCHW, weight, stride, padding = in_squares(x_BCHW, self.weight, self.stride, self.padding)
        sides = stride, padding, (1, 1), 1
        if self._in_one and alike:
            try:
                if added_BCHW is None:
                    return torch.cudnn_convolution_relu(x_BCHW, weight, self.bias, *sides)
                return torch.cudnn_convolution_add_relu(x_BCHW, weight, added_BCHW, 1.0, self.bias, *sides)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError:  # cuDNN knows no such kernel for this GPU, these shapes, or this kind of device
                self._in_one = False
        found = F.conv2d(x_BCHW, weight, self.bias, *sides)
        return F.relu(found if added_BCHW is None else found + added_BCHW)

    def _gives_what_is_like(self, added_BCHW: Tensor, x_BCHW: Tensor) -> bool:
        sides = zip(x_BCHW.shape[2:], self.weight.shape[2:], self.stride, self.padding, strict=True)
        shape = len(x_BCHW), len(self.weight), *(output_side(*each) for each in sides)
        return tuple(added_BCHW.shape) == shape and added_BCHW.dtype == x_BCHW.dtype


def fused(part: nn.Module, precision: Precision) -> nn.Module:
    """Return a part of a network, in evaluation mode, with `ConvReLU` wherever there is one in it.

    The greatest of what ReLU leaves is what ReLU leaves of the greatest: where a convolution is pooled first, its ReLU
    comes before. A part whose forward pass cannot be traced, as one that decides by the values it computes, stays.
    """
    try:
        with precision.autocast():
            traced = fx.symbolic_trace(part)
    except Exception:  # whatever the code of somebody's network raises when tensors are not tensors
        return part
    for node in list(traced.graph.nodes):
        if isinstance(_layer(traced, node), nn.Identity | nn.Dropout):
            node.replace_all_uses_with(node.args[0])
            traced.graph.erase_node(node)
    runs = Counter(str(node.target) for node in traced.graph.nodes if node.op == "call_module")
    fits = partial(_is_fused, traced, runs)
    found = 0
    for relu in list(traced.graph.nodes):
        if not (isinstance(_layer(traced, relu), nn.ReLU) or relu.target in (F.relu, torch.relu)) or not relu.args:
            continue
        last = before = relu.args[0]
        if isinstance(_layer(traced, before), nn.MaxPool2d) and len(before.users) == 1:
            before = before.args[0]
        if (terms := _terms(before, fits)) is None:
            continue
        conv, others = terms
        name = str(conv.target)
        traced.set_submodule(name, ConvReLU(traced.get_submodule(name)))  # type: ignore[arg-type]
        with traced.graph.inserting_after(before):
            in_one = traced.graph.call_module(name, (conv.args[0], *others))
        relu.replace_all_uses_with(in_one if last is before else last)
        before.replace_all_uses_with(in_one)
        for done in dict.fromkeys((relu, before, conv)):
            traced.graph.erase_node(done)
        found += 1
    if not found:
        return part
    traced.recompile()
    return traced


def _terms(node: fx.Node, fits: Callable[[fx.Node], bool]) -> tuple[fx.Node, list[fx.Node]] | None:
    """Return the convolution that a node is, or is a sum with, and the other term; None where it is no such thing."""
    if len(node.users) != 1:
        return None
    if fits(node):
        return node, []
    terms = list(dict.fromkeys(each for each in node.args if isinstance(each, fx.Node)))
    is_sum = node.target in (operator.add, operator.iadd, torch.add) and not node.kwargs and len(terms) == 2
    conv = next(filter(fits, terms), None) if is_sum else None
    return None if conv is None else (conv, [term for term in terms if term is not conv])


def _layer(traced: fx.GraphModule, node: object) -> nn.Module | None:
    if isinstance(node, fx.Node) and node.op == "call_module":
        return traced.get_submodule(str(node.target))
    return None


def _is_fused(traced: fx.GraphModule, runs: Counter[str], node: fx.Node) -> bool:
    """Tell whether what a node gives is that of a convolution as `ConvReLU` computes, and nobody else takes it."""
    conv = _layer(traced, node)
    if type(conv) is not nn.Conv2d or conv.weight.dtype.itemsize != 2:
        return False
    plain = conv.groups == 1 and conv.dilation == (1, 1) and conv.padding_mode == "zeros"
    return plain and not isinstance(conv.padding, str) and len(node.users) == 1 and runs[str(node.target)] == 1
