"""What the networks share: Kaiming initialisation, and a BatchNorm that checkpointing and small batches leave sound."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint


def kaiming_init(module: nn.Module) -> None:
    """Initialise every convolution and linear layer for ReLU (He et al. 2015, arXiv:1502.01852); biases are zero."""
    for layer in module.modules():
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def output_init(layer: nn.Linear) -> None:
    """Initialise a layer whose outputs are logits: small, so that its bias alone decides the first probabilities.

    The standard deviation of 0.01 is that of the focal loss paper (Lin et al. 2017, arXiv:1708.02002).
    """
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.bias)


def run_stage(layers: Sequence[nn.Module], x: Tensor, grad_checkpointing: bool, *, draws: bool = True) -> Tensor:
    """Run layers in turn; with gradient checkpointing, their activations are computed again in the backward pass.

    Parameters
    ----------
    draws
        Whether random numbers are drawn in training, as by dropout: the same ones are then drawn again. What draws none
        can be recorded as a CUDA graph.
    """

    def forward(x: Tensor) -> Tensor:
        for layer in layers:
            x = layer(x)
        return x

    if not (grad_checkpointing and layers[0].training and torch.is_grad_enabled()):
        return forward(x)
    if torch.compiler.is_compiling():  # the compiled backward pass recomputes values alone, and no statistics
        return checkpoint(forward, x, use_reentrant=False, preserve_rng_state=draws)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _frozen_statistics(layers)

    return checkpoint(forward, x, use_reentrant=False, preserve_rng_state=draws, context_fn=contexts)


def run_resnet(
    stem: tuple[nn.Module, nn.Module, nn.Module, nn.Module],
    stages: Sequence[nn.Sequential],
    images_BCHW: Tensor,
    grad_checkpointing: bool,
) -> Tensor:
    """Run a residual network up to its last maps; gradient checkpointing computes it again a block at a time.

    The maximum of what ReLU leaves is what ReLU leaves of the maximum, to the bit, with the same gradients: so it runs
    after the pooling, on a quarter of the values. Apart, no two parts of the stem need their activations, the largest,
    at once.

    Parameters
    ----------
    stem
        Convolution, norm, ReLU and pooling.
    stages
        Of blocks that draw no random numbers.
    """
    conv, norm, relu, pool = stem
    x, parts = images_BCHW, [[conv, norm, relu]] if isinstance(pool, nn.Identity) else [[conv, norm], [pool, relu]]
    parts += [[part] for stage in stages for part in (stage if grad_checkpointing else [stage])]
    for layers in parts:
        x = run_stage(layers, x, grad_checkpointing, draws=False)
    return x


@contextmanager
def _frozen_statistics(layers: Sequence[nn.Module]) -> Iterator[None]:
    """Keep BatchNorm from counting the same batch into its running statistics a second time.

    It still normalises by the batch and saves the same tensors, as the recomputation must.
    """
    parts = [part for layer in layers for part in layer.modules()]
    norms = [part for part in parts if isinstance(part, _BatchNorm) and part.track_running_stats]
    before = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
        norm.num_batches_tracked = None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, before, strict=True):
            norm.momentum = momentum
            norm.num_batches_tracked = batches


class _SingleValue(Exception):
    """A BatchNorm layer, named by the message, was given one value for each channel."""


def single_valued_norm(network: nn.Module, image_size: int, channels: int) -> str | None:
    """Name the first BatchNorm layer to which a training batch of one image gives a single value for each channel.

    One value has no variance: torch raises an error there, in the middle of a training. The layer is found by a copy
    of the network whose tensors have shapes but no content, so that the network and its statistics stay as they were.
    None: a batch of one image passes.
    """
    shapes_only = copy.deepcopy(network).to("meta").train()

    def look(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        if layer.training and given[0].numel() == given[0].shape[1]:
            raise _SingleValue(names[layer])

    names = {layer: name for name, layer in shapes_only.named_modules()}
    for layer in names:
        if isinstance(layer, _BatchNorm):
            layer.register_forward_pre_hook(look)
    try:
        shapes_only(torch.empty(1, channels, image_size, image_size, device="meta"))
    except _SingleValue as found:
        return str(found)
    return None
