"""The shortest training loop there is, over one batch that stays where it is: what eager or compiled PyTorch can do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torchvision
from torch import nn
from torch.nn import functional as F


def bare_loop(
    network: nn.Module, images_BCHW: torch.Tensor, classes: int, dtype: torch.dtype | None
) -> Callable[[int], None]:
    """Return a loop over so many steps: fused AdamW, channels_last, autocast where a type is given."""
    device = images_BCHW.device
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)
    labels_B = torch.arange(len(images_BCHW), device=device) % classes

    def run(steps: int) -> None:
        for _ in range(steps):
            with torch.autocast(device.type, dtype) if dtype is not None else nullcontext():
                output = network(images_BCHW)
                loss = F.cross_entropy(output[0] if isinstance(output, tuple) else output, labels_B)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    return run


def tutorial_loop(images_BCHW: torch.Tensor, classes: int) -> Callable[[int], None]:
    """Return the loop of PyTorch's tutorials over one batch on the device: torchvision's network, float32."""
    device = images_BCHW.device
    network = torchvision.models.resnet18(num_classes=classes).to(device).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4)
    criterion = nn.CrossEntropyLoss()
    images_BCHW = images_BCHW.contiguous()
    labels_B = torch.arange(len(images_BCHW), device=device) % classes

    def run(steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            criterion(network(images_BCHW), labels_B).backward()
            optimizer.step()

    return run
