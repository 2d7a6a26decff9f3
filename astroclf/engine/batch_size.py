"""The largest batch that trains on a device with memory to spare, found by real steps of growing batches."""

from __future__ import annotations

import copy
from collections.abc import Callable

import psutil
import torch
from torch import nn

from astroclf.data.loader import Batch
from astroclf.engine.memory import OF_GPU, OF_PROCESS, MemoryPeaks
from astroclf.engine.training_step import TrainingStep
from astroclf.errors import TrainingError
from astroclf.losses.criterion import Criterion
from astroclf.models.precision import Precision
from astroclf.settings.training import TrainerSettings

LEAST = 8  # images: what is tried first; fewer only where there are not so many to train on
MOST = {"cuda": 1024, "cpu": 64}  # a CPU's steps are no faster per image with more
STEPS_PER_EPOCH = 20  # at least: larger batches of a small data set would be too few steps
MEMORY_SHARE = 0.8  # of what is free: validation, other kernels and fragments want some too


def batch_size_limit(images: int, grad_accum_steps: int, device: torch.device) -> int:
    """Return the largest batch that leaves enough steps an epoch of `images` training images, by powers of two."""
    wanted = max(LEAST, images // (STEPS_PER_EPOCH * grad_accum_steps))
    most = max(2, min(wanted, images, MOST[device.type]))
    return 1 << (most.bit_length() - 1)


def fitting_batch_size(
    network: nn.Module,
    criterion: Criterion,
    precision: Precision,
    settings: TrainerSettings,
    shape_CHW: tuple[int, int, int],
    classes: int,
    images: int,
    *,
    prepare: Callable[[nn.Module], None],
    make_optimizer: Callable[[nn.Module], torch.optim.Optimizer],
) -> int:
    """Return the largest power of two of images with which whole steps leave a share of the free memory.

    The network, and the random numbers of the run, are as before. On a GPU, running out of memory ends the search. On a
    CPU, where the system would kill the process, a size is tried only if twice the memory of its half is free.

    Parameters
    ----------
    shape_CHW
        Of the images that the network gets.
    images
        Number of training images.
    prepare
        Puts a copy of the network on its device.
    make_optimizer
        Makes an optimizer of the run's kind.

    Raises
    ------
    TrainingError
        Not even the least batch fits.
    """
    device, limit = precision.device, batch_size_limit(images, settings.grad_accum_steps, precision.device)
    room, before = MEMORY_SHARE * _free_bytes(device), _taken_bytes(device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        trial = copy.deepcopy(network)
        prepare(trial)
        step = TrainingStep(trial.train(), criterion, make_optimizer(trial), precision, settings)
        found, size = 0, min(LEAST, limit)
        while size <= limit:
            taken = _bytes_of_steps(step, _noise(size, shape_CHW, classes, device), before)
            if taken is None or taken > room:
                break
            found, size = size, 2 * size
            if device.type == "cpu" and 2 * taken > room:
                break
    del step, trial
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if not found:
        raise TrainingError(
            f"Not even a batch of {size} images of {shape_CHW[1]} x {shape_CHW[2]} px trains in the free memory of "
            f"{device} ({room / MEMORY_SHARE / 1e9:.1f} GB). Set trainer.batch_size to fewer, make dataset.image_size "
            "smaller, or set backbone.grad_checkpointing=true."
        )
    return found


def _noise(size: int, shape_CHW: tuple[int, int, int], classes: int, device: torch.device) -> Batch:
    images_BCHW = torch.randn(size, *shape_CHW).to(device, memory_format=torch.channels_last)
    rows_B = torch.arange(size)
    return Batch(images_BCHW, (rows_B % classes).to(device), rows_B.numpy())


def _bytes_of_steps(step: TrainingStep, batch: Batch, before: int) -> int | None:
    """Return the most memory that two steps take beyond what was taken `before`; None where there is not enough.

    The second step is the larger: the optimizer's state exists.
    """
    device, peaks = step.precision.device, MemoryPeaks(step.precision.device)
    try:
        for _ in range(2):
            step.take([batch])
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except torch.OutOfMemoryError:
        step.optimizer_step.optimizer.zero_grad(set_to_none=True)
        return None
    peak = peaks.take().get(OF_GPU if device.type == "cuda" else OF_PROCESS)
    return 0 if peak is None else max(0, round(peak * 1e9) - before)


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    return int(psutil.virtual_memory().available)


def _taken_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return int(psutil.Process().memory_info().rss)
