"""Answers: the latency of one image and the throughput of many, beside torchvision's and timm's as users write them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
import torchvision
from device.race import CLASSES, Contender, Scale, compiled, forget_compiled, normalised, pictures, race
from torch import nn

from astroclf.evaluation.forward import predict_proba
from astroclf.inference.predictor import Predictor
from astroclf.models.classifier import Classifier
from astroclf.models.folded import for_inference
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.package import load_package, write_package
from astroclf.settings.yaml_files import yaml_values

Turn = Callable[[int], None]


def predictor(folder: Path, size: int, device: torch.device) -> Predictor:
    """Return a predictor of a ResNet-18 with random weights."""
    augment = {key: value for key, value in yaml_values("augment/none").items() if key != "_target_"}
    spec = {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "image_size": size, "stem": "imagenet"},
        "classes": [f"class {number}" for number in range(CLASSES)],
        "image_size": size,
        "augment": {**augment, "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    torch.manual_seed(0)
    network = Classifier(ResNet18(image_size=size, stem="imagenet"), CLASSES)
    return load_package(write_package(folder, spec, network.state_dict()), device.type)


def as_written(
    network: nn.Module, images_BCHW: torch.Tensor, dtype: torch.dtype | None = None, compiles: bool = False
) -> Turn:
    """Return what users write: evaluation mode, no gradients, softmax, and the answer where they can read it."""
    network = network.to(images_BCHW.device).eval()
    if dtype is not None:
        network = network.to(memory_format=torch.channels_last)
    else:
        images_BCHW = images_BCHW.contiguous()
    if compiles:
        network = compiled(network)
    kind = images_BCHW.device.type

    @torch.inference_mode()
    def run(times: int) -> None:
        for _ in range(times):
            with torch.autocast(kind, dtype) if dtype is not None else nullcontext():
                network(images_BCHW).softmax(dim=1).cpu()

    return run


def ours(asked: Predictor, images_BCHW: torch.Tensor, **options: Any) -> Turn:
    """Return what `Predictor` does with normalised images; with options, its network compiled."""
    if options:
        network = compiled(for_inference(asked.model, asked.precision), **options)

        @torch.inference_mode()
        def say(images_BCHW: torch.Tensor) -> torch.Tensor:
            return predict_proba(network, images_BCHW, "softmax", precision=asked.precision).probabilities_BC
    else:
        say = torch.inference_mode()(asked.say)

    def run(times: int) -> None:
        for _ in range(times):
            say(images_BCHW).cpu()

    return run


def whole(asked: Predictor, images: np.ndarray, batch: int) -> Turn:
    """Return the whole way of pixels in main memory to calibrated answers there."""

    def run(times: int) -> None:
        for _ in range(times):
            asked.classify(images, batch)

    return run


def answers(size: int, batch: int, scale: Scale, found: dict[str, Any], compiles: bool = False) -> dict[str, Any]:
    """Race over one batch, normalised on the device, to probabilities in main memory; all compiled, or none."""
    forget_compiled()
    images_BCHW = normalised(size, batch, scale.device)
    with TemporaryDirectory() as folder:
        asked = predictor(Path(folder) / "model", size, scale.device)
    theirs = partial(torchvision.models.resnet18, num_classes=CLASSES)

    def timms() -> nn.Module:
        return import_module("timm").create_model("resnet18", num_classes=CLASSES)

    half = torch.bfloat16
    turns: dict[str, Callable[[], Turn]] = {
        "torchvision, fp32": lambda: as_written(theirs(), images_BCHW),
        "torchvision, bf16, channels_last": lambda: as_written(theirs(), images_BCHW, half),
        "timm, fp32": lambda: as_written(timms(), images_BCHW),
        "timm, bf16, channels_last": lambda: as_written(timms(), images_BCHW, half),
        "astroclf, Predictor.say": lambda: ours(asked, images_BCHW),
        "astroclf, Predictor.classify, from pixels in main memory": lambda: whole(asked, pictures(size, batch), batch),
    }
    if compiles:
        turns = {
            "astroclf, Predictor.say": turns["astroclf, Predictor.say"],
            "torchvision, bf16, channels_last, compiled": lambda: as_written(theirs(), images_BCHW, half, True),
            "astroclf, compiled": lambda: ours(asked, images_BCHW, dynamic=False),
        }
        if batch == 1 and scale.on_cuda:
            turns["astroclf, compiled, CUDA graph"] = lambda: ours(asked, images_BCHW, mode="reduce-overhead")
    figures = race({name: Contender(turn, batch) for name, turn in turns.items()}, scale)
    for each in figures.values():
        if "median" in each:
            each["ms_an_image"] = 1000 / each["median"]
    return {"size": size, "batch": batch, "contenders": figures}
