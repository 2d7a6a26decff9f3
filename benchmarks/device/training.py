"""Images a second through a training step: the bare loops, ours with everything on, and what people use instead."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import Any

import torch
import torchvision
from device.apart import Apart
from device.ours import Training, network
from device.race import (
    CLASSES,
    Contender,
    Scale,
    compiled,
    explained,
    forget_compiled,
    normalised,
    pictures,
    prepared,
    race,
    seconds_of,
    spread,
)
from device.roofline import counted, floors
from peers.bare_loop import bare_loop, tutorial_loop
from peers.taught import Pictures, Tensors, galaxy10_transform
from torch import nn

BATCHES_KEPT = 4  # of ours, on the device
COUNTED_IMAGES = 8
PEERS_MOST, PEERS_PIXELS = 256, 2**22  # images and pixels of a batch that a worker sends through shared memory
BARE, BARE_COMPILED = "bare loop, eager", "bare loop, compiled"
OURS, OURS_FREE = "astroclf", "astroclf, deterministic=false"


def steps(
    name: str, size: int, batch: int, scale: Scale, found: dict[str, Any], compiles: bool = False
) -> dict[str, Any]:
    """Race the loops whose images are on the device; the floor of the step comes with them.

    Parameters
    ----------
    compiles
        Whether the compiled ones race with the plain ones, which is long in coming.
    """
    forget_compiled()
    what = name, size, batch, scale.device
    bare, ours = partial(bare_steps, *what), partial(our_steps, *what)
    contenders = {BARE: Contender(bare, batch), OURS: Contender(ours, batch, deterministic=True)}
    if compiles:
        contenders |= {
            BARE_COMPILED: Contender(partial(bare, compiles=True), batch),
            f"{OURS}, compiled": Contender(partial(ours, compiles=True), batch, deterministic=True),
        }
        if size == scale.middle:  # one more to compile
            contenders[f"{OURS_FREE}, compiled"] = Contender(partial(ours, compiles=True), batch)
    else:
        if scale.on_cuda:
            contenders[OURS_FREE] = Contender(ours, batch)
        if scale.on_cuda and size == scale.middle:
            launched = Contender(partial(ours, cuda_graph=False), batch, deterministic=True)
            contenders[f"{OURS}, cuda_graph=false"] = launched
        if not scale.on_cuda:
            untuned = Contender(partial(ours, conv_autotune=False), batch, deterministic=True)
            contenders[f"{OURS}, conv_autotune=false"] = untuned
        if name == "resnet18":
            contenders["PyTorch's tutorial, torchvision, fp32"] = Contender(partial(tutorial_steps, *what[1:]), batch)
            contenders["bare loop, torchvision"] = Contender(partial(torchvision_steps, *what[1:]), batch)
    # What a training tells the C library of a CPU's process is nothing that the others would have.
    figures = race(contenders, scale, apart=not scale.on_cuda)
    result: dict[str, Any] = {"size": size, "network": name, "batch": batch, "contenders": figures}
    if "bf16_flops" in (ceiling := found.get("ceilings", {})):

        def bare_of(images: int) -> Callable[[int], None]:
            return bare_steps(name, size, images, scale.device)

        result["floor"] = floors(counted(bare_of, min(batch // 2, COUNTED_IMAGES)), batch, ceiling)
    for each in figures.values():
        if "median" in each:
            of_bare = figures.get(BARE, {}).get("median", math.nan)
            each["share_of_bare"] = each["median"] / of_bare
            if "floor" in result:
                seconds = batch / each["median"]
                each["share_of_roofline"] = result["floor"]["one_by_one_seconds"] / seconds
                each["share_of_fused_roofline"] = result["floor"]["fused_seconds"] / seconds
                each["flops_per_second"] = result["floor"]["flops"] / seconds
    return result


def bare_steps(
    name: str, size: int, batch: int, device: torch.device, *, compiles: bool = False
) -> Callable[[int], None]:
    """Return the bare loop of our network."""
    built = network(name, size)
    images_BCHW = normalised(size, batch, device)
    return bare_loop(compiled(built) if compiles else built, images_BCHW, CLASSES, torch.bfloat16)


def our_steps(
    name: str, size: int, batch: int, device: torch.device, *, compiles: bool = False, **changes: Any
) -> Callable[[int], None]:
    """Return the steps of a training with everything on, with these changes of the trainer's settings."""
    pixels = pictures(size, BATCHES_KEPT * batch)
    return Training(name, pixels, batch, device, compiles=compiles, changes=changes).run


def torchvision_steps(size: int, batch: int, device: torch.device) -> Callable[[int], None]:
    """Return the bare loop of torchvision's ResNet18."""
    built = torchvision.models.resnet18(num_classes=CLASSES)
    return bare_loop(built, normalised(size, batch, device), CLASSES, torch.bfloat16)


def tutorial_steps(size: int, batch: int, device: torch.device) -> Callable[[int], None]:
    """Return the loop of PyTorch's tutorials."""
    return tutorial_loop(normalised(size, batch, device), CLASSES)


def peers(name: str, size: int, scale: Scale, found: dict[str, Any]) -> dict[str, Any]:
    """Measure the loops that are fed by worker processes, one after another: workers that wait would run ahead.

    On a CPU, whose pace changes from minute to minute, our own takes a turn before and after each.
    """
    batch = min(scale.batch[size], PEERS_MOST, PEERS_PIXELS // size**2)
    block, blocks = max(scale.workers, 1), 2 if scale.on_cuda else 8
    pixels = pictures(size, batch * block * (blocks + 1))
    taught = Tensors(pixels, CLASSES, galaxy10_transform(size))
    timed = (block, blocks, scale.wait)

    def lightning(precision: str) -> list[float]:
        loop = import_module("peers.lightning_loop").lightning_loop
        return loop(_as_taught(name, size), taught, batch, scale.workers, precision, scale.device, *timed)

    def with_timm() -> list[float]:
        loop, timm = import_module("peers.timm_loop").timm_loop, import_module("timm")
        built = timm.create_model("resnet18", num_classes=CLASSES) if name == "resnet18" else _as_taught(name, size)
        return loop(built, Pictures(pixels, CLASSES), size, batch, scale.workers, scale.device, *timed)

    loops: dict[str, Callable[[], list[float]]] = {
        "Lightning, its default (fp32)": partial(lightning, "32-true"),
        "Lightning, bf16-mixed": partial(lightning, "bf16-mixed"),
        "timm's train.py, bf16, channels_last": with_timm,
    }
    if scale.on_cuda:
        measured = found.get(f"training {name} {size}", {}).get("contenders", {}).get(OURS, {}).get("median", math.nan)
    else:
        ours = Contender(partial(our_steps, name, size, batch, scale.device), batch, deterministic=True)
        run = Apart(partial(prepared, ours, scale.device))
        run(scale.warm)

    def our_rate() -> float:
        steps = block * blocks
        return measured if scale.on_cuda else steps * batch / seconds_of(run, steps, scale)

    figures: dict[str, Any] = {}
    turns = [our_rate()]
    for title, loop in loops.items():
        try:
            rates = [block * batch / seconds for seconds in loop()]
            turns.append(our_rate())
            faster = statistics.mean(turns[-2:]) / statistics.median(rates)
            more = {} if math.isnan(faster) else {"astroclf_is_faster": faster}
            figures[title] = {"batch": batch, "images_per_second": rates, **spread(rates), **more}
        except ImportError as error:
            figures[title] = {"skipped": f"not installed here: {error}"}
        except Exception as error:
            figures[title] = {"error": explained(error)}
    if not scale.on_cuda:
        figures[OURS] = {"batch": batch, "images_per_second": turns, **spread(turns)}
    return {"size": size, "network": name, "batch": batch, "workers": scale.workers, "contenders": figures}


def _as_taught(name: str, size: int) -> nn.Module:
    if name == "resnet18":
        return torchvision.models.resnet18(num_classes=CLASSES)
    backbone = network(name, size).backbone
    return nn.Sequential(backbone, nn.Linear(backbone.num_features, CLASSES))
