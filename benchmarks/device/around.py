"""What is around a step: waiting for data, the time of an epoch, memory at a large size, what the device did."""

from __future__ import annotations

import tempfile
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from device.ours import Training, on_disk, trainer_settings
from device.race import CLASSES, Scale, forget_compiled, normalised, pictures, seconds_of, spread
from torch import Tensor
from torch.autograd import DeviceType
from torch.nn import functional as F
from torch.profiler import ProfilerActivity, profile

from astroclf.engine.trainer import Trainer
from astroclf.models.precision import make_deterministic
from astroclf.models.space_to_depth import ImageConv2d, filters_of, squares_of
from astroclf.tracking.none import NullTracker

SHOWN_KERNELS = 15
TIMED, PROFILED, WATCHED = 10, 3, 5  # steps


def waiting(scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Train whole epochs from each place that images can be kept in, and make their batches alone, by turns."""
    size, batch = scale.middle, scale.batch[scale.middle]
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        stored = on_disk(Path(folder), size, scale.epoch_images)
        trainings = {place: Training(scale.network, stored, batch, scale.device, place=place) for place in PLACES}
        for training in trainings.values():
            training.epoch(1)
        rounds: dict[str, list[tuple[float, float, float]]] = {place: [] for place in trainings}
        for _ in range(max(1, scale.rounds - 2)):
            for place, training in trainings.items():
                waited = training.loader.data_wait_seconds
                seconds = seconds_of(training.epoch, 1, scale)
                waited = training.loader.data_wait_seconds - waited
                alone = seconds_of(lambda _, loader=training.loader: _drained(loader), 1, scale)
                rounds[place].append((seconds, waited, alone))
    for place, each in rounds.items():
        images = batch * len(trainings[place].loader)
        figures[place] = {
            "images_per_second": [images / seconds for seconds, _, _ in each],
            **spread([images / seconds for seconds, _, _ in each]),
            "share_of_host_time_waiting": spread([waited / seconds for seconds, waited, _ in each])["median"],
            "batches_alone_per_second": spread([images / alone for _, _, alone in each])["median"],
        }
    return {"size": size, "batch": batch, "workers": trainings["memory"].loader.num_workers, "places": figures}


PLACES = ("device", "memory", "disk")


def _drained(loader: Any) -> None:
    for _ in loader.epoch(0):
        pass


def epoch(scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Time an epoch like that of Galaxy10: by the loop, and by `Trainer.fit` with its checkpoints."""
    size = scale.biggest
    training = Training(scale.network, pictures(size, scale.epoch_images), scale.batch[size], scale.device)
    training.run(scale.warm)
    seconds = [seconds_of(training.epoch, 1, scale) for _ in range(scale.rounds)]
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            training.network,
            training.criterion,
            training.loader,
            lambda model: {"loss": 1.0, "accuracy": 0.5},
            training.optimizer,
            training.schedule,
            training.precision,
            trainer_settings(batch_size=scale.batch[size], epochs=3, device=scale.device.type),
            Path(folder),
            NullTracker(),
        )
        whole = seconds_of(lambda _: trainer.fit(), 1, scale)
    return {
        "size": size,
        "images": scale.epoch_images,
        "batch": scale.batch[size],
        "seconds": seconds,
        **spread(seconds),
        "seconds_of_three_by_trainer_with_checkpoints": whole,
    }


def large(scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Train at the first forerunner's size, with and without computing activations again."""
    figures: dict[str, Any] = {}
    size, batch = scale.large, scale.large_batch
    for checkpointing in (True, False):
        _start_peak(scale)
        held = torch.cuda.memory_allocated() if scale.on_cuda else 0
        training = Training(
            scale.network, pictures(size, 2 * batch), batch, scale.device, grad_checkpointing=checkpointing
        )
        training.run(scale.warm)
        seconds = [seconds_of(training.run, scale.warm, scale) / scale.warm for _ in range(scale.rounds)]
        peak = (torch.cuda.max_memory_allocated() - held) / 1e9 if scale.on_cuda else None
        figures["checkpointed" if checkpointing else "plain"] = {
            "peak_gb": peak,
            "ms_a_step": 1000 * spread(seconds)["median"],
        }
        del training
    return {"size": size, "batch": batch, **figures}


def _start_peak(scale: Scale) -> None:
    if scale.on_cuda:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def first_convolution(scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Time the first convolution of a ResNet in half precision, of pixels and of squares of them."""
    size, batch = scale.middle, scale.batch[scale.middle]
    layer = ImageConv2d(3, 64, 7, 2, padding=3, bias=False).to(scale.device, torch.bfloat16)
    weight = layer.weight.to(memory_format=torch.channels_last).detach().requires_grad_()
    images_BCHW = normalised(size, batch, scale.device).bfloat16()
    ways = {
        "of pixels": lambda: F.conv2d(images_BCHW, weight, None, 2, 3),
        "of squares": lambda: F.conv2d(squares_of(images_BCHW, (7, 7), (3, 3)), filters_of(weight, (3, 3))),
    }
    figures: dict[str, Any] = {}
    for name, way in ways.items():
        ahead = torch.ones_like(way().detach())

        def learnt(way: Callable[[], Tensor] = way, ahead: Tensor = ahead) -> None:
            torch.autograd.grad(way(), weight, ahead)

        for what, once in (("forward", way), ("forward and backward", learnt)):
            for _ in range(scale.warm):
                once()
            seconds = seconds_of(lambda times, once=once: [once() for _ in range(times)], TIMED, scale) / TIMED
            figures.setdefault(name, {})[f"ms {what}"] = 1000 * seconds
    return {"size": size, "batch": batch, **figures}


def waits(scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Count where the host waits for the device in steps of ours; 0 is expected."""
    if not scale.on_cuda:
        return {"skipped": "needs a CUDA device"}
    size, batch = scale.middle, scale.batch[scale.middle]
    figures: dict[str, Any] = {}
    for place in PLACES[:2]:
        training = Training(scale.network, pictures(size, 2 * WATCHED * batch), batch, scale.device, place=place)
        training.run(scale.warm)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                training.run(WATCHED)
            finally:
                torch.cuda.set_sync_debug_mode("default")
        said = [each for each in caught if "called a synchronizing" in str(each.message)]
        places = Counter(f"{_short(each.filename)}:{each.lineno}" for each in said)
        figures[place] = {"a_step": len(said) / WATCHED, "where": dict(places)}
        del training
    return figures


def _short(path: str) -> str:
    return "/".join(Path(path).parts[-3:])


def kernels(scale: Scale, found: dict[str, Any], compiles: bool = False) -> dict[str, Any]:
    """Name what the device spends a step of ours on, and how much of the step it has nothing to do."""
    forget_compiled()
    size, batch = scale.middle, scale.batch[scale.middle]
    make_deterministic(not compiles, scale.device)  # as the race has them
    training = Training(scale.network, pictures(size, 4 * batch), batch, scale.device, compiles=compiles)
    training.run(scale.warm)
    seconds = seconds_of(training.run, TIMED, scale) / TIMED
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if scale.on_cuda else [])]
    with profile(activities=activities) as profiler:
        training.run(PROFILED)
        scale.wait()
    device = DeviceType.CUDA if scale.on_cuda else DeviceType.CPU
    events = [each for each in profiler.key_averages() if each.device_type == device and not each.is_user_annotation]
    times = {each.key: each.self_device_time_total if scale.on_cuda else each.self_cpu_time_total for each in events}
    total = sum(times.values())
    counts = {each.key: each.count for each in events}
    most = sorted(times, key=lambda key: times[key], reverse=True)[:SHOWN_KERNELS]
    return {
        "size": size,
        "batch": batch,
        "classes": CLASSES,
        "ms_a_step": 1000 * seconds,
        "ms_of_kernels_a_step": total / 1000 / PROFILED,
        "kernels_a_step": sum(counts.values()) / PROFILED,
        "top": [
            {
                "name": key[:160],
                "ms_a_step": times[key] / 1000 / PROFILED,
                "share": times[key] / total if total else 0.0,
                "count_a_step": counts[key] / PROFILED,
            }
            for key in most
        ],
    }
