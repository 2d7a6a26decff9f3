"""What a run shows of itself before it trains: its network's layers, and its images as the network will see them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from astroclf.data.loader import BatchLoader
from astroclf.evaluation.plots import plot_augmented
from astroclf.models.summary import model_summary
from astroclf.run.build import Run
from astroclf.run.data import Data
from astroclf.util.atomic import write_text
from astroclf.util.figures import class_labels

SHEET_SAMPLES, SHEET_VERSIONS = 6, 7  # of the sheet of augmented samples


def write_summary(run: Run) -> None:
    """Write the network's layers, parameters and memory to ``model.txt``, unless an earlier start did."""
    path = run.folder.path / "model.txt"
    if not path.is_file():
        write_text(path, model_summary(run.network, run.spec.image_size, run.spec.channels))


def draw_augmented(run: Run) -> None:
    """Draw training images beside what the network sees of them in the first epochs, one of each class."""
    draw_views(run.folder.path, run.data, run.loaders["train"])


def draw_views(folder: Path, data: Data, loader: BatchLoader) -> None:
    """Draw images that are trained on beside versions of them as the loader of a run makes them."""
    path = folder / "plots" / "augmented.png"
    if path.is_file():
        return
    cache, rows, augmentation = data.cache, data.splits.train, loader.augmentation
    labels = cache.catalog.labels[rows]
    first_of_class = [rows[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)]
    chosen = np.array(first_of_class[:SHEET_SAMPLES] if len(first_of_class) > 1 else rows[:SHEET_SAMPLES])
    originals = np.asarray(cache.images[chosen])
    pixels_BHWC = torch.from_numpy(originals.copy())
    seen = [
        augmentation.to_uint8(augmentation(pixels_BHWC, augmentation.draw(loader.seed, epoch, chosen)))
        for epoch in range(SHEET_VERSIONS)
    ]
    of_class = class_labels(cache.catalog.classes, 15)
    names = [of_class[label] for label in cache.catalog.labels[chosen]]
    plot_augmented(originals, np.stack([np.asarray(images) for images in seen], axis=1), names, path)
