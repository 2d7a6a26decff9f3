"""What a run shows of itself before it trains: its network's layers, and its images as the network will see them."""

from __future__ import annotations

import numpy as np
import torch

from astroclf.evaluation.plots import plot_augmented
from astroclf.models.summary import model_summary
from astroclf.run.build import Run
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
    path = run.folder.path / "plots" / "augmented.png"
    if path.is_file():
        return
    cache, rows, augmentation = run.data.cache, run.data.splits.train, run.loaders["train"].augmentation
    labels = cache.catalog.labels[rows]
    first_of_class = [rows[np.flatnonzero(labels == label)[0]] for label in np.unique(labels)]
    chosen = np.array(first_of_class[:SHEET_SAMPLES])
    originals = np.asarray(cache.images[chosen])
    pixels_BHWC = torch.from_numpy(originals.copy())
    seen = [
        augmentation.to_uint8(augmentation(pixels_BHWC, augmentation.draw(run.config.seed, epoch, chosen)))
        for epoch in range(SHEET_VERSIONS)
    ]
    of_class = class_labels(cache.catalog.classes, 15)
    names = [of_class[label] for label in cache.catalog.labels[chosen]]
    plot_augmented(originals, np.stack([np.asarray(images) for images in seen], axis=1), names, path)
