"""Images per second through each augmentation recipe, beside the second forerunner's, and what people use instead.

    python benchmarks/augment.py [--sizes 64 256 1280] [--rounds 5] [--json FILE]

One core: each contender runs in one thread and its CPU seconds are counted, so that a busy machine disturbs little. In
every round all contenders take their turn; the median over the rounds is shown. The second forerunner's recipe for
Galaxy10 is written with torchvision (v1 on Pillow's images, as it has it, and v2 on tensors), Albumentations and
Kornia. All but Kornia's, whose random numbers are per image, get every image by itself, as a data loader's worker
would. With a CUDA device the torch executor is timed there as well, in wall-clock seconds. Albumentations and Kornia
are in the extra `bench`; without them they are left out with a word.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import cv2
import numpy as np
import torch
import torchvision
from peers.taught import galaxy10_transform, middle
from PIL import Image
from torchvision import transforms as v1

from astroclf.data.augment import on_torch
from astroclf.data.augment.plan import plan
from astroclf.data.augment.recipe import Augmentation
from astroclf.settings.yaml_files import yaml_values
from astroclf.util.atomic import write_text
from astroclf.util.threads import processor

ROOT = Path(__file__).parents[1]
PEER = "torchvision v1, Pillow: galaxy10"
PIXELS = 2**22  # of all images of a round, 64 images at most
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
    size = images.shape[1]
    pipeline = v1.Compose(
        [
            v1.CenterCrop(middle(size)),
            v1.ColorJitter(0.4, 0.4, 0.4, 0.5),
            v1.GaussianBlur(3),
            v1.RandomHorizontalFlip(0.5),
            v1.RandomRotation((0, 270)),
            v1.Resize((size, size)),
            v1.ToTensor(),
            v1.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
    return lambda: _discard(torch.stack([pipeline(Image.fromarray(image)) for image in images]))


def torchvision_v2(images: np.ndarray) -> Callable[[], None]:
    pipeline = galaxy10_transform(images.shape[1])
    images_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2)
    return lambda: _discard(torch.stack([pipeline(image) for image in images_BCHW]))


def with_albumentations(images: np.ndarray) -> Callable[[], None]:
    albumentations = import_module("albumentations")
    to_tensor = import_module("albumentations.pytorch").ToTensorV2()
    size = images.shape[1]
    pipeline = albumentations.Compose(
        [
            albumentations.CenterCrop(*middle(size)),
            albumentations.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.6, 1.4), (-0.5, 0.5), p=1),
            albumentations.GaussianBlur((3, 3), (0.1, 2.0), p=1),
            albumentations.HorizontalFlip(p=0.5),
            albumentations.Rotate((0, 270), p=1, border_mode=cv2.BORDER_CONSTANT),
            albumentations.Resize(size, size),
            albumentations.Normalize([0.5] * 3, [0.5] * 3),
            to_tensor,
        ]
    )
    return lambda: _discard(torch.stack([pipeline(image=image)["image"] for image in images]))


def with_kornia(images: np.ndarray) -> Callable[[], None]:
    augmentation = import_module("kornia.augmentation")
    size = images.shape[1]
    pipeline = augmentation.AugmentationSequential(
        augmentation.CenterCrop(middle(size)),
        augmentation.ColorJitter(0.4, 0.4, 0.4, 0.5, p=1),
        augmentation.RandomGaussianBlur((3, 3), (0.1, 2.0), p=1),
        augmentation.RandomHorizontalFlip(p=0.5),
        augmentation.RandomRotation((0, 270), p=1),
        augmentation.Resize((size, size)),
        augmentation.Normalize([0.5] * 3, [0.5] * 3),
        data_keys=["input"],
    )
    images_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2)
    return lambda: _discard(pipeline(images_BCHW.float() / 255))


PEERS: dict[str, Callable[[np.ndarray], Callable[[], None]]] = {
    PEER: torchvision_v1,
    "torchvision v2, tensors: galaxy10": torchvision_v2,
    "Albumentations: galaxy10": with_albumentations,
    "Kornia, a batch: galaxy10": with_kornia,
}


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


def contenders_of(images: np.ndarray) -> dict[str, tuple[Callable[[], None], Callable[[], float]]]:
    """Return all that take turns, each with its clock; a library that is not there is left out with a word."""
    contenders: dict[str, tuple[Callable[[], None], Callable[[], float]]] = {}
    for name, prepare in PEERS.items():
        try:
            contenders[name] = prepare(images), time.process_time
        except ImportError as error:
            print(f"{name}: not installed here ({error})")
    for recipe in RECIPES:
        contenders[f"astroclf, OpenCV: {recipe}"] = (ours(recipe, images), time.process_time)
    for recipe in RECIPES:
        contenders[f"astroclf, torch on CPU: {recipe}"] = (ours_on_torch(recipe, images, "cpu"), time.process_time)
    if torch.cuda.is_available():
        for recipe in RECIPES:
            on_gpu = ours_on_torch(recipe, images, "cuda")
            contenders[f"astroclf, torch on CUDA: {recipe}"] = (on_gpu, time.perf_counter)
    return contenders


def measured(size: int, rounds: int) -> dict[str, list[float]]:
    """Return the images a second of each contender in each round, for images of one size."""
    images = make_images(max(2, min(64, PIXELS // size**2)), size)
    contenders = contenders_of(images)
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for run, _ in contenders.values():
        run()  # first calls load tables and warm caches
    for _ in range(rounds):
        for name, (run, clock) in contenders.items():
            began = clock()
            run()
            rates[name].append(len(images) / (clock() - began))
    return rates


def show(size: int, rates: dict[str, list[float]]) -> None:
    peer = statistics.median(rates[PEER])
    print(f"{'images/s on one core, ' + str(size) + ' px':<44}{'median':>9}{'lowest':>9}{'highest':>9}  x v1")
    for name, seen in rates.items():
        median = statistics.median(seen)
        print(f"{name:<44}{median:>9.0f}{min(seen):>9.0f}{max(seen):>9.0f}{median / peer:>6.1f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 256, 1280], help="side of the images, pixels")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "augment.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    found = {}
    for size in options.sizes:
        found[size] = measured(size, options.rounds)
        show(size, found[size])
    record = {
        "images_per_second": found,
        "machine": {"system": platform.platform(), "device": _device(), "processor": processor()},
        "versions": {
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
            "opencv": cv2.__version__,
            "numpy": np.__version__,
        },
    }
    write_text(options.json, json.dumps(record, indent=1) + "\n")
    print(f"written to {options.json}")


def _device() -> str:
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


if __name__ == "__main__":
    main()
