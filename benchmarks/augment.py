"""Images per second through each augmentation recipe, beside the second forerunner's torchvision pipelines.

    python benchmarks/augment.py [--size 256] [--images 64] [--rounds 5] [--json FILE]

One core: each contender runs in one thread and its CPU seconds are counted, so that a busy machine disturbs little. In
every round all contenders take their turn; the median over the rounds is shown. The torchvision pipelines get every
image by itself, as a data loader's worker would, since their random numbers are per call. With a CUDA device the
torch executor is timed there as well, in wall-clock seconds.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision import transforms as v1
from torchvision.transforms import v2

from astroclf.data.augment import on_torch
from astroclf.data.augment.plan import plan
from astroclf.data.augment.recipe import Augmentation
from astroclf.settings.yaml_files import yaml_values

ROOT = Path(__file__).parents[1]
RECIPES: dict[str, tuple[str, dict[str, str | None]]] = {  # name: recipe of conf/augment, changes
    "galaxy10": ("galaxy10", {}),
    "astro8": ("astro8", {}),
    "astro8, color first": ("astro8", {"color": "before_geometry"}),
    "dihedral": ("dihedral", {}),
    "survey": ("survey", {}),
    "survey, without JPEG": ("survey", {"jpeg": None}),
    "trivial": ("trivial", {}),
    "none": ("none", {}),
}


def make_images(count: int, size: int) -> np.ndarray:
    """Smooth blobs with noise, (count, size, size, 3) uint8: as compressible to caches as real cut-outs."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    widths = rng.uniform(0.05, 0.3, (count, 1, 1, 3))
    blobs = 200 * np.exp(-(x**2 + y**2)[None, :, :, None] / widths)
    return np.clip(blobs + rng.normal(20, 8, blobs.shape), 0, 255).astype(np.uint8)


def torchvision_v1(images: np.ndarray) -> Callable[[], None]:
    pipeline = v1.Compose(
        [
            v1.CenterCrop((170, 240)),
            v1.ColorJitter(0.4, 0.4, 0.4, 0.5),
            v1.GaussianBlur(3),
            v1.RandomHorizontalFlip(0.5),
            v1.RandomRotation((0, 270)),
            v1.Resize((256, 256)),
            v1.ToTensor(),
            v1.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    return lambda: _discard(torch.stack([pipeline(Image.fromarray(image)) for image in images]))


def torchvision_v2(images: np.ndarray) -> Callable[[], None]:
    pipeline = v2.Compose(
        [
            v2.CenterCrop((170, 240)),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.5),
            v2.GaussianBlur(3),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation((0, 270)),
            v2.Resize((256, 256), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    images_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2)
    return lambda: _discard(torch.stack([pipeline(image) for image in images_BCHW]))


def ours(recipe: str, images: np.ndarray) -> Callable[[], None]:
    augmentation = load(recipe)
    rows, images_BHWC = np.arange(len(images)), torch.from_numpy(images)
    return lambda: _discard(augmentation(images_BHWC, augmentation.draw(0, 0, rows), 1))


def ours_on_torch(recipe: str, images: np.ndarray, device: str) -> Callable[[], None]:
    augmentation = load(recipe)
    rows, images_BHWC = np.arange(len(images)), torch.from_numpy(images).to(device)

    def run() -> None:
        on_torch.apply(images_BHWC, plan(augmentation, images.shape, augmentation.draw(0, 0, rows)))
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def load(name: str) -> Augmentation:
    recipe, changes = RECIPES[name]
    options = yaml_values(f"augment/{recipe}")
    options.pop("_target_")
    return Augmentation(**options | changes)


def _discard(_: torch.Tensor) -> None:
    """The result is what was timed, not what is wanted."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--size", type=int, default=256, help="side of the stored images, pixels")
    parser.add_argument("--images", type=int, default=64, help="images a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "augment.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)

    images = make_images(options.images, options.size)
    contenders: dict[str, tuple[Callable[[], None], Callable[[], float]]] = {
        "torchvision v1, PIL: galaxy10": (torchvision_v1(images), time.process_time),
        "torchvision v2, tensors: galaxy10": (torchvision_v2(images), time.process_time),
    }
    for recipe in RECIPES:
        contenders[f"astroclf, OpenCV: {recipe}"] = (ours(recipe, images), time.process_time)
    for recipe in RECIPES:
        contenders[f"astroclf, torch on CPU: {recipe}"] = (ours_on_torch(recipe, images, "cpu"), time.process_time)
    if torch.cuda.is_available():
        for recipe in RECIPES:
            on_gpu = ours_on_torch(recipe, images, "cuda")
            contenders[f"astroclf, torch on CUDA: {recipe}"] = (on_gpu, time.perf_counter)

    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for run, _ in contenders.values():
        run()  # first calls load tables and warm caches
    for _ in range(options.rounds):
        for name, (run, clock) in contenders.items():
            began = clock()
            run()
            rates[name].append(len(images) / (clock() - began))

    peer = statistics.median(rates["torchvision v1, PIL: galaxy10"])
    print(f"{'images/s on one core, ' + str(options.size) + ' px':<40}{'median':>9}{'lowest':>9}{'highest':>9}  x v1")
    for name, seen in rates.items():
        median = statistics.median(seen)
        print(f"{name:<40}{median:>9.0f}{min(seen):>9.0f}{max(seen):>9.0f}{median / peer:>6.1f}")
    record = {
        "images_per_second": rates,
        "size": options.size,
        "images": options.images,
        "machine": {"system": platform.platform(), "device": _device(), "processor": _processor()},
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {options.json}")


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    names = (
        [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")] if cpuinfo.exists() else []
    )
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


if __name__ == "__main__":
    main()
