"""What three habits of published protocols add to a test accuracy, each beside an honest test of the same network.

    python experiments/studies/leak_audit.py FOLDER --data IMAGES_WITH_TABLE [--part epochs] [--seeds 5] [--epochs 24]

For each seed, the images are split anew into training, validation and test (copies together), and two
networks are trained from random weights, at 64 px, by as many steps:

epochs
    On the training images, validated and tested after each epoch. Its honest accuracy is that on the test images at
    the epoch of the highest validation accuracy. Claimed instead: (b) that validation accuracy, (c) the highest test
    accuracy.
copies
    On training and validation images with three copies of each (turned, mirrored, re-compressed), split at random into
    training, validation and test. Claimed: (a) the accuracy on that test. Honest: the same network, at the same epoch,
    on the test images of the first, none of whose galaxies it has seen in any form.

What a seed came to is kept in experiments/studies/leak_audit/leak_audit.json as soon as it is known, and not computed
again: a study that was stopped goes on by the same command. Prints the table, and draws leak_audit.png beside it.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from scipy import stats

import astroclf.run.folder  # noqa: F401 - registers the resolvers of config.yaml
from astroclf.config.build import build
from astroclf.config.compose import composed_as
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.state import planned_steps
from astroclf.engine.trainer import Trainer
from astroclf.evaluation.forward import Validation
from astroclf.run.data import Data
from astroclf.run.parts import Parts, ProcessCache, build_parts
from astroclf.settings.config import Config
from astroclf.tracking.none import NullTracker
from astroclf.util.atomic import write_text
from astroclf.util.figures import figure

HERE = Path(__file__).parent / "leak_audit"
SIZE, STORED = 64, 128  # pixels: trained on, and of the images that are copied
VALIDATED, TESTED = 0.1, 0.2
PARTS = ("epochs", "copies")
CLAIMS = {
    "a": "turned and mirrored copies across a random split",
    "b": "best validation accuracy as test accuracy",
    "c": "best test accuracy of all epochs",
}


def recompress(image: np.ndarray) -> np.ndarray:
    image = np.ascontiguousarray(image)
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


COPIES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda image: image,
    lambda image: recompress(np.rot90(image)),
    lambda image: recompress(image[:, ::-1]),
    lambda image: recompress(np.rot90(image, 2)),
)


@dataclass(frozen=True)
class Images:
    """Decoded images with the rows of each split."""

    images: np.ndarray
    labels: np.ndarray
    rows: dict[str, np.ndarray]


def asked(data: Path, epochs: int, seed: int, cache: Path) -> Config:
    """Return the config of a seed's first network."""
    words = (
        "experiment=galaxy10_small", "dataset=folder", f"dataset.path='{data}'", f"dataset.cache_dir='{cache}'",
        f"dataset.image_size={STORED}", f"augment.output_size={SIZE}", f"dataset.val_fraction={VALIDATED}",
        f"dataset.test_fraction={TESTED}", f"dataset.split_seed={seed}", f"seed={seed}", f"trainer.epochs={epochs}",
        "trainer.validate_every=1", "tracking=none",
    )  # fmt: skip
    return composed_as(Config, "config", words)


def inflated(data: Data, seed: int) -> Images:
    """Return training and validation images, each with its copies, split at random."""
    rows = np.concatenate([data.splits.train, data.splits.val])
    images = np.stack([copy(np.asarray(data.cache.images[row])) for row in rows for copy in COPIES])
    labels = np.repeat(data.cache.catalog.labels[rows], len(COPIES))
    order = np.random.default_rng(seed).permutation(len(images))
    tested, validated = round(TESTED * len(images)), round(VALIDATED * len(images))
    split = {"test": order[:tested], "val": order[tested : tested + validated], "train": order[tested + validated :]}
    return Images(images, labels, split)


def trained(parts: Parts, own: Images, unseen: BatchLoader | None, steps: int, every: int, folder: Path) -> list[Any]:
    """Train by so many steps; return the accuracies every so many: on validation, on test, on unseen images."""
    settings = parts.config.trainer
    pixels = PixelBuffer(own.images, "memory")
    loaders = {
        name: BatchLoader(
            pixels, own.labels, rows, batch_size=settings.images_per_batch, seed=parts.config.seed,
            augmentation=parts.loaders["train"].augmentation, train=name == "train",
        )
        for name, rows in own.rows.items()
    }  # fmt: skip
    settings = replace(
        settings, epochs=math.ceil(steps / len(loaders["train"])), max_steps=steps, validate_every_steps=every,
        keep_lowest_loss=0,
    )  # fmt: skip
    looked_at: list[dict[str, float]] = []

    def measured(loader: BatchLoader) -> Validation:
        return Validation(parts.criterion, loader, parts.precision, parts.data.classes)

    def accuracy(loader: BatchLoader) -> float:
        return measured(loader)(trainer.ema.model() if trainer.ema is not None else trainer.model)["accuracy"]

    def look(history: list[dict[str, float]], _: bool) -> None:
        of_test = {"test": accuracy(loaders["test"])} | ({"unseen": accuracy(unseen)} if unseen is not None else {})
        looked_at.append({"val": history[-1]["val/accuracy"], **of_test})

    optimizer = parts.optimizer()
    schedule = build(
        parts.config.scheduler,
        peak_lr=parts.config.optimizer.lr,
        total_steps=planned_steps(settings, len(loaders["train"])),
    )
    trainer = Trainer(
        parts.network, parts.criterion, loaders["train"], measured(loaders["val"]), optimizer, schedule,
        parts.precision, settings, folder, NullTracker(), on_validation=look,
    )  # fmt: skip
    trainer.fit()
    shutil.rmtree(folder)
    return looked_at


def of_seed(part: str, options: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Train the network of a part and a seed; return what would be claimed of it, and what is true."""
    began, shared = time.monotonic(), ProcessCache()
    parts = build_parts(asked(options.data, options.epochs, seed, options.folder / "cache"), shared)
    data, folder = parts.data, options.folder / f"{part}-{seed}"
    every = len(parts.loaders["train"])
    original = Images(
        np.asarray(data.cache.images),
        data.cache.catalog.labels,
        {name: getattr(data.splits, name) for name in ("train", "val", "test")},
    )
    own = original if part == "epochs" else inflated(data, seed)
    unseen = None if part == "epochs" else parts.loaders["test"]
    rows = trained(parts, own, unseen, every * options.epochs, every, folder)
    chosen = max(rows, key=lambda row: row["val"])  # the first of the best epochs
    if part == "epochs":
        claims = {"b": (chosen["val"], chosen["test"]), "c": (max(row["test"] for row in rows), chosen["test"])}
    else:
        claims = {"a": (chosen["test"], chosen["unseen"])}
    return {
        "part": part, "seed": seed, "epochs": options.epochs, "claims": claims, "by epoch": rows,
        "images": {name: len(each) for name, each in own.rows.items()}, "seconds": round(time.monotonic() - began, 1),
    }  # fmt: skip


def interval(values: np.ndarray) -> tuple[float, float]:
    """Return the mean, and half of Student's 95 % interval of it over the seeds."""
    if len(values) < 2:
        return float(values.mean()), math.nan
    return float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))


def gathered(results: list[dict[str, Any]], epochs: int) -> dict[str, np.ndarray]:
    """Return (seeds, 2) of each habit: what was claimed, and what was true."""
    found: dict[str, list[Any]] = {name: [] for name in CLAIMS}
    for result in sorted(results, key=lambda each: each["seed"]):
        if result["epochs"] == epochs:
            for name, pair in result["claims"].items():
                found[name].append(pair)
    return {name: np.array(pairs) for name, pairs in found.items() if pairs}


def table(found: dict[str, np.ndarray]) -> str:
    lines = ["| | what is claimed | claimed | honest | inflation, 95 % interval | seeds |", "|---|---|---|---|---|---|"]
    for name, pairs in found.items():
        mean, half = interval(pairs[:, 0] - pairs[:, 1])
        claimed, honest = pairs.mean(axis=0)
        inflation = f"**{mean:+.3f}** ± {half:.3f}"
        lines.append(f"| ({name}) | {CLAIMS[name]} | {claimed:.3f} | {honest:.3f} | {inflation} | {len(pairs)} |")
    return "\n".join(lines)


def draw(found: dict[str, np.ndarray], path: Path) -> None:
    """Draw the inflation of each seed, with mean and interval."""
    with figure(path, 7.5, 0.8 + 0.7 * len(found)) as axes:
        for place, pairs in enumerate(found.values()):
            inflation = 100 * (pairs[:, 0] - pairs[:, 1])
            mean, half = interval(inflation)
            axes.plot(inflation, np.full(len(inflation), place - 0.15), "o", markersize=4, alpha=0.5, color="#5A606B")
            axes.errorbar(mean, place + 0.15, xerr=half, fmt="o", color="#C2410C", capsize=3)
        axes.axvline(0, color="#B4B8C0", linewidth=0.8)
        axes.set_yticks(range(len(found)), [f"({name}) {CLAIMS[name]}" for name in found])
        axes.set_ylim(len(found) - 0.5, -0.5)
        axes.set_xlabel("claimed less honest accuracy, points")
        axes.set_title("Inflation: seeds, and mean with 95 % interval")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="for caches and checkpoints")
    parser.add_argument("--data", type=Path, required=True, help="folder of images, with classes or a table")
    parser.add_argument("--part", choices=PARTS, help="only this one; both without it")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--results", type=Path, default=HERE / "leak_audit.json")
    options = parser.parse_args()
    options.folder, options.data = options.folder.absolute(), options.data.absolute()
    options.folder.mkdir(parents=True, exist_ok=True)
    options.results.parent.mkdir(parents=True, exist_ok=True)
    results = json.loads(options.results.read_text()) if options.results.is_file() else []
    for seed in range(options.seeds):
        for part in [options.part] if options.part else PARTS:
            key = {"part": part, "seed": seed, "epochs": options.epochs}
            if any(key.items() <= result.items() for result in results):
                continue
            results.append(of_seed(part, options, seed))
            write_text(options.results, json.dumps(results, indent=1) + "\n")
            print(part, seed, results[-1]["claims"], f"{results[-1]['seconds']:.0f} s", flush=True)
    found = gathered(results, options.epochs)
    print(table(found))
    draw(found, options.results.with_suffix(".png"))


if __name__ == "__main__":
    main()
