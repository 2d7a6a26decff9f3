"""A network as it answers fastest, once it is trained: BatchNorm folded into convolutions, half precision kept."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch import fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from astroclf.models.custom6conv import Block, LateBiasConv2d
from astroclf.models.fused import fused
from astroclf.models.precision import DTYPES, Precision
from astroclf.models.resnet18_d4 import D4Conv, D4Norm
from astroclf.models.space_to_depth import ImageConv2d

Network = TypeVar("Network", bound=nn.Module)


def for_inference(network: Network, precision: Precision) -> Network:
    """Return a copy of a network in evaluation mode as it answers fastest, to run under the format's autocast.

    Group convolutions and their norms become ordinary ones. BatchNorm is folded into the convolution before it, in
    float32. Weights are laid out channels_last, and those of convolutions are kept in half precision, which autocast
    would convert anew for every batch. Of a ResNet-18 for one image of 128 pixels on a CPU that halves the time. On a
    GPU convolutions compute what follows on them, too: see `fused`. Answers differ by rounding.
    """
    network = copy.deepcopy(network)
    on_gpu = precision.device.type == "cuda"
    made_ordinary = (D4Conv, D4Norm, ImageConv2d, *([Block] if on_gpu else []))
    for name, layer in list(network.named_modules()):
        if isinstance(layer, made_ordinary):  # an ordinary layer does the same, once its weights stay as they are
            network.set_submodule(name, layer.plain())  # type: ignore[attr-defined]
    for part in network.children():
        for conv, norm in list(_pairs(part)):
            layer, after = part.get_submodule(conv), part.get_submodule(norm)
            part.set_submodule(conv, fuse_conv_bn_eval(layer, after))  # type: ignore[type-var, arg-type]
            part.set_submodule(norm, nn.Identity())
    network = network.to(memory_format=torch.channels_last)
    dtype = DTYPES[precision.name]
    for layer in network.modules():
        if dtype is not None and type(layer) in (nn.Conv2d, LateBiasConv2d):  # others may compute more with weights
            layer.to(dtype)
    if on_gpu:
        for name, part in list(network.named_children()):
            network.set_submodule(name, fused(part, precision))
    return network


def _pairs(part: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the names of a convolution and of the BatchNorm that alone takes what it gives, where each runs once.

    None of a part whose forward pass cannot be traced, as one that decides by the values it computes.
    """
    if not any(type(layer) is nn.BatchNorm2d for layer in part.modules()):
        return
    try:
        nodes = list(fx.symbolic_trace(part).graph.nodes)
    except Exception:  # whatever the code of somebody's network raises when tensors are not tensors
        return
    runs = Counter(str(node.target) for node in nodes if node.op == "call_module")
    for node in nodes:
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, fx.Node) or before.op != "call_module" or len(before.users) != 1:
            continue
        conv, norm = str(before.target), str(node.target)
        layers = part.get_submodule(conv), part.get_submodule(norm)
        fitting = type(layers[0]) is nn.Conv2d and type(layers[1]) is nn.BatchNorm2d
        if fitting and layers[1].track_running_stats and runs[conv] == runs[norm] == 1:
            yield conv, norm
