"""What a model's answers lose in bf16, and what they gain in time.

    OMP_NUM_THREADS=1 python experiments/studies/precision.py MODEL IMAGES [--limit 1000]

Asks a trained model, by any of its names, about a folder of images, with one and with eight views, in fp32 and in bf16,
one at a time and 32 at a time: how many labels differ, how near a tie these were, by how much probabilities differ, and
the CPU time. Prints the tables of experiments/precision.md.
"""

from __future__ import annotations

import argparse
import statistics
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import torch

import astroclf
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.predictor import Predictor
from astroclf.registry.load import load_one

FORMATS, VIEWS, BATCH, REPEATS = ("fp32", "bf16"), (1, 8), 32, 5
TIMED = 128  # images of each repetition


def loaded(model: str, precision: str, views: int) -> Predictor:
    """Return the model as it answers in a number format, with a number of test-time views."""
    predictor = load_one(model, "be studied", device="cpu", precision=precision)
    predictor.spec = replace(predictor.spec, tta_views=views)
    return predictor


def cpu_milliseconds(predictor: Predictor, images_NHWC: np.ndarray, batch_size: int) -> float:
    """Return the CPU time an image, the median of some repetitions."""
    part = images_NHWC[: TIMED if batch_size > 1 else TIMED // 4]
    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        predictor.classify(part, batch_size)
        times.append(time.process_time() - began)
    return 1000 * statistics.median(times) / len(part)


def difference(one: Predictions, other: Predictions) -> str:
    """Say in cells of a table by how much two answers to the same images differ."""
    changed = np.flatnonzero(one.predicted != other.predicted)
    ordered = np.sort(one.probabilities[changed], axis=1)
    tie = f"{(ordered[:, -1] - ordered[:, -2]).max():.3f}" if len(changed) else "–"
    off = np.abs(one.probabilities - other.probabilities).max(axis=1)
    return f"{len(changed)} | {tie} | {off.max():.4f} | {off.mean():.5f}"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("images")
    parser.add_argument("--limit", type=int, default=1000)
    asked = parser.parse_args()
    images_NHWC = prepared(asked.model, asked.images, asked.limit)
    size = images_NHWC.shape[1]
    print(
        f"{len(images_NHWC):,} images of {size} px, {torch.get_num_threads()} threads, "
        f"{torch.backends.cpu.get_cpu_capability()}, torch {torch.__version__}, astroclf {astroclf.__version__}\n"
    )
    print(
        "| views | compared | labels that differ | farthest of these from a tie | probabilities, at most | on average |"
    )
    print("|---|---|---|---|---|---|")
    for views in VIEWS:
        models = {name: loaded(asked.model, name, views) for name in FORMATS}
        said = {name: model.classify(images_NHWC, BATCH) for name, model in models.items()}
        print(f"| {views} | bf16 and fp32 | {difference(said['fp32'], said['bf16'])} |", flush=True)
        for name, model in models.items():
            single = model.classify(images_NHWC, 1)
            print(f"| {views} | {name}, 1 and {BATCH} at a time | {difference(said[name], single)} |", flush=True)
    print("\n| views | at a time | CPU ms an image, fp32 | bf16 |\n|---|---|---|---|")
    for views in VIEWS:
        models = {name: loaded(asked.model, name, views) for name in FORMATS}
        for batch_size in (1, BATCH):
            times = [f"{cpu_milliseconds(models[name], images_NHWC, batch_size):.1f}" for name in FORMATS]
            print(f"| {views} | {batch_size} | {' | '.join(times)} |", flush=True)


def prepared(model: str, images: str, limit: int) -> np.ndarray:
    """Return the first images of a folder as the model takes them, (N, S, S, channels) uint8."""
    predictor = loaded(model, "fp32", 1)
    batches = predictor.prepared(Path(images), BATCH, "raise")
    return np.concatenate([batch for batch, _ in islice(batches, -(-limit // BATCH))])[:limit]


if __name__ == "__main__":
    main()
