"""The loop of timm's `train.py` with its loader, its own augmentation, AMP in bfloat16 and channels_last."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import timm
import timm.data
import timm.optim
import torch
from torch import nn
from torch.utils.data import Dataset


def timm_loop(
    network: nn.Module,
    dataset: Dataset,
    size: int,
    batch: int,
    workers: int,
    device: torch.device,
    block: int,
    blocks: int,
    wait: Callable[[], None],
) -> list[float]:
    """Return the seconds of each block of steps, the first left out: the workers are still starting."""
    network = network.to(device, memory_format=torch.channels_last).train()
    optimizer = timm.optim.create_optimizer_v2(network, opt="adamw", lr=1e-4, weight_decay=0.05)
    on_cuda = device.type == "cuda"
    loader = timm.data.create_loader(
        dataset,
        input_size=(3, size, size),
        batch_size=batch,
        is_training=True,
        use_prefetcher=on_cuda,
        num_workers=workers,
        pin_memory=on_cuda,
        device=device,
        persistent_workers=False,
    )
    loss_fn = nn.CrossEntropyLoss().to(device)
    amp_autocast = partial(torch.autocast, device_type=device.type, dtype=torch.bfloat16)
    marks: list[float] = []
    for number, (images, labels) in enumerate(loader, 1):
        with amp_autocast():
            loss = loss_fn(network(images.contiguous(memory_format=torch.channels_last)), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        if number % block == 0:
            wait()
            marks.append(time.perf_counter())
        if len(marks) > blocks:
            break
    return [after - before for before, after in pairwise(marks)]
