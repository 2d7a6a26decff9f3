"""What calibration, confidence and prediction sets are worth on simulated galaxies that the network has not seen.

    python experiments/studies/calibration.py FOLDER [--epochs 4] [--splits 20]

Trains the network of `make train` (label smoothing 0.1) in FOLDER, asks it about 5,000 newly simulated galaxies, and
divides these many times at random into 2,000 for validation and 3,000 for test. Prints the tables of
experiments/calibration.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.evaluation.answering import Answering, answer_metrics, fit_answering
from astroclf.evaluation.conformal import strangeness
from astroclf.evaluation.predictions import Predictions, read_predictions, write_predictions
from astroclf.registry.package import load_package
from astroclf.simulation.readers import Galaxy10Sim

IMAGES, VALIDATED, SIZE, COVERAGE = 5000, 2000, 64, 0.9


def trained(folder: Path, epochs: int) -> Path:
    """Return the package of a training in `folder`; one that is complete is taken as it is."""
    run = folder / "run"
    if not (run / "metrics.json").is_file():
        command = [
            sys.executable, "-m", "astroclf.train", "experiment=quickstart", f"trainer.epochs={epochs}",
            "tracking=none", f"dataset.cache_dir={folder / 'cache'}", f"hydra.run.dir={run}",
        ]  # fmt: skip
        subprocess.run(command, cwd=folder, env=dict(os.environ), check=True)
    return run / "model"


def said_of_new_galaxies(folder: Path, package: Path) -> Predictions:
    """Return what the network itself says of galaxies that were simulated from another seed."""
    path = folder / "said.parquet"
    if not path.is_file():
        reader = Galaxy10Sim(samples=IMAGES, seed=1, image_size=SIZE, cache_dir=folder / "cache")
        cache = open_image_cache(reader, folder / "cache")
        predictor = load_package(package, device="cpu")
        predictor.answering = Answering(uncertainty_head=True)
        said = predictor.classify(np.asarray(cache.images))
        write_predictions(path, replace(said, labels=cache.catalog.labels))
    found = read_predictions(path)
    return replace(found, scores=None, chosen=None)


def class_thresholds(fitted: tuple[np.ndarray, np.ndarray], scores_NC: np.ndarray) -> np.ndarray:
    """Return plain class-conditional sets: of each class, those within the quantile of its own scores."""
    scores, labels = fitted
    columns = []
    for label in range(scores.shape[1]):
        own = np.sort(scores[labels == label, label])
        columns.append(scores_NC[:, label] <= own[int(np.ceil((len(own) + 1) * COVERAGE)) - 1])
    return np.stack(columns, axis=1)


def of_one_split(said: Predictions, seed: int, method: str) -> dict[str, float]:
    """Fit on a random part, and return the figures of the rest."""
    order = np.random.default_rng(seed).permutation(len(said))
    validation, test = said.take(order[:VALIDATED]), said.take(order[VALIDATED:])
    fit = fit_answering(validation, method, COVERAGE, uncertainty_head=True)  # type: ignore[arg-type]
    answers = fit.answering(test)
    figures = answer_metrics(test, answers)
    assert answers.sets is not None
    figures["accuracy_raw"] = test.metrics()["accuracy"]
    figures["empty sets"] = float((answers.sets.sum(axis=1) == 0).mean())
    figures["sets without the label"] = float((~answers.sets[np.arange(len(test)), answers.predicted]).mean())
    calibrated = answers.probabilities
    fitted = validation.probabilities if fit.calibration is None else fit.calibration.out_of_fold_NC
    share = np.random.default_rng(seed).random((len(said), 1))
    rest_fitted, rest = (np.maximum(strangeness(each).score_NC, 0) for each in (fitted, calibrated))
    for name, one, other in (
        ("APS", rest_fitted + fitted, rest + calibrated),
        ("APS, randomised", rest_fitted + share[:VALIDATED] * fitted, rest + share[VALIDATED:] * calibrated),
        ("1 - p", 1 - fitted, 1 - calibrated),
    ):
        sets = class_thresholds((one, validation.truth), other)
        figures[f"size, plain thresholds, {name}"] = float(sets.sum(axis=1).mean())
    return figures


def main() -> None:
    """Train, ask, divide and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder.absolute()
    said = said_of_new_galaxies(folder, trained(folder, options.epochs))
    for method in ("temperature", "vector"):
        found = [of_one_split(said, seed, method) for seed in range(options.splits)]
        print(f"\n{method}: mean over {options.splits} splits, and standard deviation")
        for name in found[0]:
            values = [figures[name] for figures in found]
            print(f"| {name} | {np.mean(values):.4f} | {np.std(values):.4f} |")
        (folder / f"{method}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
