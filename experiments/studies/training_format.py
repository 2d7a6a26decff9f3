"""How fast networks train on this CPU in each number format and memory layout, and how fast their frozen backbones are.

    python experiments/studies/training_format.py [--threads 1] [--sizes 64 128]

Whole steps (forward, backward, AdamW) of 16 images of noise, the forms taking turns so that other work on the machine
meets all alike; the fastest of five counts. `frozen` is the forward pass alone, without gradients, of 32 images with
the layers in evaluation mode; `folded` the same with BatchNorm folded into the convolutions before it. Prints the
table of experiments/training_format.md and writes experiments/studies/training_format/training_format.json.
"""

from __future__ import annotations

import argparse
import copy
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from astroclf.models.classifier import Classifier
from astroclf.models.folded import for_inference
from astroclf.models.precision import Precision
from astroclf.settings.components import locate
from astroclf.settings.yaml_files import yaml_values
from astroclf.util.atomic import write_text

HERE = Path(__file__).parent / "training_format"
TIMM = ("mobilenetv4_conv_small", "convnext_nano", "vit_small_patch16_224", "regnety_004")
NETWORKS = ("efficientnet_lite0", "resnet18", "resnet18_d4", *TIMM)
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
TRAINED, FROZEN, ROUNDS = 16, 32, 5  # images of a step and of a forward pass; times each is taken


def network_of(name: str, size: int) -> nn.Module:
    options = yaml_values(f"backbone/{'timm' if name in TIMM else name}") | ({"name": name} if name in TIMM else {})
    return Classifier(locate("backbone", options.pop("_target_"))(image_size=size, **options), 10)


def precision(name: str) -> Precision:
    return Precision(name, torch.device("cpu"))


def training_step(network: nn.Module, number_format: str, layout: str, size: int) -> Callable[[], None]:
    network = copy.deepcopy(network).train().to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    images_BCHW = torch.randn(TRAINED, 3, size, size).to(memory_format=LAYOUTS[layout])
    optimizer, labels_B = torch.optim.AdamW(network.parameters(), 1e-4, fused=True), torch.arange(TRAINED) % 10

    def step() -> None:
        with precision(number_format).autocast():
            logits_BC = network(images_BCHW).logits_BC
        nn.functional.cross_entropy(logits_BC, labels_B).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def forward_pass(network: nn.Module, number_format: str, folded: bool, size: int) -> Callable[[], None]:
    network = copy.deepcopy(network).eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if folded:
        network = for_inference(network, precision(number_format))
    images_BCHW = torch.randn(FROZEN, 3, size, size).to(memory_format=torch.channels_last)

    def forward() -> None:
        with torch.no_grad(), precision(number_format).autocast():
            network(images_BCHW)

    return forward


def rates(forms: dict[str, Callable[[], None]], images: int) -> dict[str, float]:
    """Return the images a second of each form, after one round that is not timed."""
    seconds = {name: float("inf") for name in forms}
    for number in range(ROUNDS + 1):
        for name, take in forms.items():
            began = time.perf_counter()
            take()
            if number:
                seconds[name] = min(seconds[name], time.perf_counter() - began)
    return {name: round(images / each, 1) for name, each in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    trained = [f"{form} {layout}" for form in ("fp32", "bf16") for layout in LAYOUTS]
    frozen = [f"{form} {kind}" for form in ("fp32", "bf16") for kind in ("frozen", "folded")]
    print("| network | px |", " | ".join([*trained, *frozen]), "|\n|" + "---|" * (2 + len(trained) + len(frozen)))
    rows = []
    for size in options.sizes:
        for name in NETWORKS:
            torch.manual_seed(0)
            network = network_of(name, size)
            found = rates({each: training_step(network, *each.split(), size) for each in trained}, TRAINED)
            found |= rates(
                {each: forward_pass(network, each.split()[0], each.endswith("folded"), size) for each in frozen}, FROZEN
            )
            rows.append({"network": name, "px": size, "threads": options.threads, **found})
            print(f"| {name} | {size} |", " | ".join(f"{rate:.0f}" for rate in found.values()), "|", flush=True)
    HERE.mkdir(exist_ok=True)
    write_text(HERE / "training_format.json", json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
