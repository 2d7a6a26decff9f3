"""Contenders that take turns on one device, and how large and long all of it is."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
import torch
from device.apart import Apart

from astroclf.models.precision import make_deterministic

CLASSES = 10
MOST_STEPS = 5000  # of a turn


@dataclass(frozen=True)
class Scale:
    """What is measured on, and how much of it.

    Attributes
    ----------
    batch : mapping
        Images in a batch, for each side in pixels.
    network : str
        That of the parts that have one alone.
    turn : float
        Seconds that a contender's turn takes.
    warm : int
        Steps that are taken before any is timed; no turn has fewer.
    workers : int
        Processes that feed the peers.
    compiles : bool
        Whether contenders that are compiled take part.
    without : tuple of str
        Contenders with one of these in their names do not.
    """

    device: torch.device
    network: str
    batch: Mapping[int, int]
    middle: int
    large: int
    large_batch: int
    epoch_images: int
    batch_inferred: int
    rounds: int
    turn: float
    warm: int
    workers: int
    compiles: bool
    matrix: int
    copied: int
    without: tuple[str, ...] = ()

    @property
    def on_cuda(self) -> bool:
        return self.device.type == "cuda"

    @property
    def biggest(self) -> int:
        return max(self.batch)

    def wait(self) -> None:
        """Wait for the device."""
        if self.on_cuda:
            torch.cuda.synchronize(self.device)


def on_cuda(workers: int, compiles: bool) -> Scale:
    return Scale(
        device=torch.device("cuda", torch.cuda.current_device()),
        network="resnet18",
        batch={64: 1024, 128: 512, 256: 128},
        middle=128,
        large=1280,
        large_batch=6,
        epoch_images=12_400,
        batch_inferred=512,
        rounds=5,
        turn=0.2,
        warm=4,
        workers=workers,
        compiles=compiles,
        matrix=8192,
        copied=2**31,
    )


def on_cpu(workers: int) -> Scale:
    return Scale(
        device=torch.device("cpu"),
        network="resnet18",
        batch={64: 32, 128: 32, 256: 32},
        middle=128,
        large=1280,
        large_batch=2,
        epoch_images=512,
        batch_inferred=64,
        rounds=5,
        turn=1.5,
        warm=1,
        workers=workers,
        compiles=False,
        matrix=4096,
        copied=2**28,
    )


def dry(compiles: bool) -> Scale:
    """As little of everything as there can be, on the CPU: its figures mean nothing."""
    return Scale(
        device=torch.device("cpu"),
        network="custom6conv",
        batch={32: 4},
        middle=32,
        large=64,
        large_batch=2,
        epoch_images=12,
        batch_inferred=4,
        rounds=1,
        turn=0.0,
        warm=1,
        workers=0,
        compiles=compiles,
        matrix=64,
        copied=2**16,
    )


@dataclass(frozen=True)
class Contender:
    """One of those that take turns.

    Attributes
    ----------
    prepare
        Builds it, and returns what takes so many steps.
    images : int
        Of a step.
    deterministic : bool
        Whether the device must give the same bits again, or cuDNN may try which kernels are fastest.
    """

    prepare: Callable[[], Callable[[int], None]]
    images: int
    deterministic: bool = False


def prepared(contender: Contender, device: torch.device) -> Callable[[int], None]:
    """Build a contender, with the bits that it is to give."""
    make_deterministic(contender.deterministic, device)
    return contender.prepare()


def race(contenders: Mapping[str, Contender], scale: Scale, *, apart: bool = False) -> dict[str, dict[str, Any]]:
    """Measure all in turn, round after round; one that fails says why, and the others go on.

    Parameters
    ----------
    apart
        Each contender has a process of its own; what prepares it has to be picklable.

    Returns
    -------
    dict
        Of each, ``images_per_second`` of every round with ``median``, ``lowest``, ``highest``; ``first_seconds``, those
        of the first few steps, in which kernels are chosen and programs compiled; or its ``error``, or why it is
        ``skipped``.
    """
    found: dict[str, dict[str, Any]] = {}
    runs: dict[str, tuple[Callable[[int], None], int]] = {}
    for name, contender in contenders.items():
        if any(word in name for word in scale.without):
            continue
        try:
            prepare = partial(prepared, contender, scale.device)
            run = Apart(prepare) if apart else prepare()
            first = seconds_of(run, scale.warm, scale)
            run(scale.warm)
            pace = seconds_of(run, scale.warm, scale) / scale.warm
            steps = min(MOST_STEPS, max(scale.warm, round(scale.turn / pace)))
            runs[name] = run, steps
            found[name] = {"batch": contender.images, "steps": steps, "first_seconds": first, "images_per_second": []}
        except ImportError as error:
            found[name] = {"skipped": f"not installed here: {error}"}
        except Exception as error:  # whatever one contender cannot do here, the others go on
            found[name] = {"error": explained(error)}
    for _ in range(scale.rounds):
        for name, (run, steps) in list(runs.items()):
            make_deterministic(contenders[name].deterministic, scale.device)
            try:
                seconds = seconds_of(run, steps, scale)
            except Exception as error:
                found[name] = {"error": explained(error)}
                del runs[name]
                continue
            found[name]["images_per_second"].append(steps * contenders[name].images / seconds)
    return {name: {**figures, **spread(figures.get("images_per_second", ()))} for name, figures in found.items()}


def seconds_of(run: Callable[[int], Any], steps: int, scale: Scale) -> float:
    scale.wait()
    began = time.perf_counter()
    run(steps)
    scale.wait()
    return time.perf_counter() - began


def spread(values: Any) -> dict[str, float]:
    if not values:
        return {}
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}


def explained(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:400]}"


def compiled(network: torch.nn.Module, **options: Any) -> torch.nn.Module:
    """Compile a network where it stands, for the one shape that it will see."""
    network.compile(**options)
    return network


def forget_compiled() -> None:
    """Let the next shapes be compiled for themselves: seen beside others, torch would make them variable."""
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@cache
def pictures(size: int, count: int) -> np.ndarray:
    """Noise, (count, size, size, 3) uint8: what no arithmetic is quicker with."""
    drawn = min(count, 2048)
    block = np.random.default_rng(size).integers(0, 256, (drawn, size, size, 3), dtype=np.uint8)
    return block if drawn == count else np.tile(block, (-(-count // drawn), 1, 1, 1))[:count]


def normalised(size: int, count: int, device: torch.device) -> torch.Tensor:
    """Images as a network takes them, (count, 3, size, size) float32 channels_last, on the device."""
    values_BCHW = torch.from_numpy(pictures(size, count)).to(device).permute(0, 3, 1, 2).float().div_(127.5).sub_(1)
    return values_BCHW.contiguous(memory_format=torch.channels_last)
