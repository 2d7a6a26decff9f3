"""What a random split of a data set that was inflated by augmented copies claims, and what is true.

    python experiments/studies/leakage.py FOLDER --data FILE.h5 [--epochs 24] [--seeds 1]

A fifth of the images of FILE (Galaxy10's layout) is put aside, never to be seen in training. Each of the others gets
three copies (turned, mirrored, re-compressed). The same training is run on the inflated set in FOLDER twice: split at
random, and with copies kept together. Both models are then tested on the images that were put aside. Prints the table
of experiments/leakage.md and writes experiments/studies/leakage/leakage.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.data.readers.editions import DECALS
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.data.split.links import find_links
from astroclf.data.split.splits import make_splits
from astroclf.registry.package import load_package
from astroclf.settings.dataset import SplitSettings
from astroclf.settings.yaml_files import yaml_values

HERE = Path(__file__).parent
SIZE, STORED = 64, 128  # pixels: trained on, and of the inflated file
UNSEEN, VALIDATED, TESTED = 0.2, 0.1, 0.2
SPLITS = {
    "random split": ("dataset.near_duplicates=false", "dataset.sky_arcsec=null"),
    "copies kept together": (),
}


def recompress(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


COPIES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    lambda image: image,
    lambda image: recompress(np.ascontiguousarray(np.rot90(image))),
    lambda image: recompress(np.ascontiguousarray(image[:, ::-1])),
    lambda image: recompress(np.ascontiguousarray(np.rot90(image, 2))),
)


def shrink(image: np.ndarray) -> np.ndarray:
    return cv2.resize(np.ascontiguousarray(image), (STORED, STORED), interpolation=cv2.INTER_AREA)


def write_inflated(path: Path, data: Path, cache_dir: Path) -> tuple[np.ndarray, np.ndarray]:
    """Write the inflated data set; returns the images put aside (N, S, S, 3) and their labels."""
    cache = open_image_cache(Galaxy10(data, STORED), cache_dir)
    # Neighbours on the sky and equal images are not divided either: what is put aside is unseen.
    links = find_links(cache, near=True, sky_arcsec=67.1)
    defaults = yaml_values("dataset/_base")
    settings = SplitSettings(
        **{key: defaults[key] for key in SplitSettings.declared()} | {"val_fraction": 0.0, "test_fraction": UNSEEN}
    )
    splits = make_splits(cache.catalog, cache.digests, links, settings).splits
    with h5py.File(data, "r") as source, h5py.File(path, "w") as file:
        images = np.asarray(source["images"][()])
        kept = [shrink(copy(images[row])) for row in splits.train for copy in COPIES]
        file["images"] = np.stack(kept)
        file["ans"] = np.repeat(cache.catalog.labels[splits.train], len(COPIES)).astype(np.uint8)
    aside = np.stack([shrink(images[row]) for row in splits.test])
    return aside, cache.catalog.labels[splits.test]


def train(folder: Path, name: str, options: tuple[str, ...], epochs: int, seed: int) -> Path:
    """The run folder of a training in `folder`; one that is complete is taken as it is."""
    run = folder / f"{name.replace(' ', '-')}-{seed}"
    if not (run / "metrics.json").is_file():
        command = [
            sys.executable, "-m", "astroclf.train", "experiment=galaxy10_small", "tracking=none",
            f"dataset.path={folder / 'inflated.h5'}", f"dataset.image_size={SIZE}", f"trainer.epochs={epochs}",
            f"dataset.val_fraction={VALIDATED}", f"dataset.test_fraction={TESTED}", f"hydra.run.dir={run}",
            "evaluation.tta_views=1", f"seed={seed}", f"dataset.split_seed={seed}", *options,
        ]  # fmt: skip
        environment = {**os.environ, "ASTROCLF_CACHE": str(folder / "cache")}
        with (folder / f"{run.name}.txt").open("w") as log:
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=log, stderr=log)
    return run


def accuracy_on(run: Path, images: np.ndarray, labels: np.ndarray) -> float:
    predicted = load_package(run / "model", "cpu").predict(images)["label"]
    return float(np.mean(predicted.to_numpy() == np.array(DECALS.classes)[labels]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    unseen, labels = write_inflated(folder / "inflated.h5", options.data, folder / "cache")
    rows = []
    for seed in range(options.seeds):
        for name, how in SPLITS.items():
            run = train(folder, name, how, options.epochs, seed)
            metrics = json.loads((run / "metrics.json").read_text())
            rows.append(
                {
                    "split": name,
                    "seed": seed,
                    "claimed accuracy": metrics["test/accuracy"],
                    "test images": metrics["test/images"],
                    "accuracy on unseen galaxies": accuracy_on(run, unseen, labels),
                    "unseen galaxies": len(labels),
                    "seconds": metrics["run/seconds"],
                }
            )
            print(json.dumps(rows[-1], indent=1))
    (HERE / "leakage").mkdir(exist_ok=True)
    (HERE / "leakage" / "leakage.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
