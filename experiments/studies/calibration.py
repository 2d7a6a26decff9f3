"""What calibration, confidence and prediction sets are worth on simulated galaxies that the network has not seen.

    python experiments/studies/calibration.py FOLDER [--epochs 16] [--seeds 3] [--splits 20]

Trains the network of `make train` (label smoothing 0.1) in FOLDER from several seeds, and asks each about 5,000 newly
simulated galaxies: with the answers that were fitted on its own validation images, as users get them; with answers
fitted on 2,000 of the new galaxies and tested on the other 3,000, in many divisions; and with answers fitted on as few
as a small data set has. Prints the tables of experiments/calibration.md.
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
from astroclf.evaluation.metrics import expected_calibration_error
from astroclf.evaluation.predictions import Predictions, read_predictions, write_predictions
from astroclf.evaluation.selective import aurc
from astroclf.registry.package import load_package
from astroclf.simulation.readers import Galaxy10Sim

IMAGES, SIMULATION_SEED, SIZE, COVERAGE = 5000, 7, 64, 0.9
VALIDATED = 2000  # of the new galaxies, for each division
FEW = (100, 200, 360)  # validation images of a small data set
SMALL_DRAWS = 40


def trained(folder: Path, epochs: int, seed: int) -> Path:
    """Return the run of a seed in `folder`; one that is complete is taken as it is."""
    run = folder / f"run-{seed}"
    if not (run / "metrics.json").is_file():
        command = [
            sys.executable, "-m", "astroclf.train", "dataset=galaxy10_sim", "dataset.samples=6000",
            "dataset.val_fraction=0.25", "dataset.test_fraction=0.35", f"trainer.epochs={epochs}", f"seed={seed}",
            f"dataset.image_size={SIZE}", f"dataset.cache_dir={folder / 'cache'}", f"hydra.run.dir={run}",
            "tracking=none",
        ]  # fmt: skip
        subprocess.run(command, cwd=folder, env=dict(os.environ), check=True)
    return run


def said_of_new_galaxies(folder: Path, run: Path) -> Predictions:
    """Return what the network itself says of galaxies that were simulated from another seed."""
    path = folder / f"{run.name}.parquet"
    if not path.is_file():
        reader = Galaxy10Sim(samples=IMAGES, seed=SIMULATION_SEED, image_size=SIZE, cache_dir=folder / "cache")
        cache = open_image_cache(reader, folder / "cache")
        predictor = load_package(run / "model", device="cpu")
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


def of_answers(test: Predictions, answers: Predictions) -> dict[str, float]:
    """Return the figures of answers to new galaxies."""
    figures = answer_metrics(test, answers)
    assert answers.sets is not None
    figures["accuracy_raw"] = test.metrics()["accuracy"]
    figures["empty sets"] = float((answers.sets.sum(axis=1) == 0).mean())
    figures["sets without the label"] = float((~answers.sets[np.arange(len(test)), answers.predicted]).mean())
    figures["ece of 1 - uncertainty"] = expected_calibration_error(1 - test.uncertainty, test.right)
    figures["aurc of 1 - uncertainty"] = aurc(1 - test.uncertainty, test.right)
    return figures


def of_its_test(run: Path) -> dict[str, float]:
    """Return the figures of a run's own test images."""
    metrics = json.loads((run / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if isinstance(value, float)}


def of_one_split(said: Predictions, seed: int, method: str) -> dict[str, float]:
    """Fit on a random part, and return the figures of the rest."""
    order = np.random.default_rng(seed).permutation(len(said))
    validation, test = said.take(order[:VALIDATED]), said.take(order[VALIDATED:])
    fit = fit_answering(validation, method, COVERAGE, uncertainty_head=True)  # type: ignore[arg-type]
    answers = fit.answering(test)
    figures = of_answers(test, answers)
    figures["confidence of its own"] = float(fit.answering.confidence is not None)
    classes = [figures[f"{name}/coverage"] for name in said.classes]
    figures["farthest class from the coverage"] = float(np.abs(np.subtract(classes, COVERAGE)).max())
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


def of_few(said: Predictions, images: int, seed: int) -> dict[str, float]:
    """Fit on as few images as a small data set has, and return by how much the answers to all others are better."""
    order = np.random.default_rng([seed, images]).permutation(len(said))
    fit = fit_answering(said.take(order[:images]), "temperature", COVERAGE, uncertainty_head=True)
    test = said.take(order[images:])
    figures = answer_metrics(test, fit.answering(test))
    kept = {name: figures[name] for name in ("ece", "log_loss", "aurc", "coverage", "set_size")}
    gains = {f"{name} gain": figures[f"{name}_raw"] - figures[name] for name in ("ece", "log_loss", "aurc")}
    return {**kept, **gains, "calibrated": float(fit.answering.calibration is not None)}


def table(title: str, found: list[dict[str, float]]) -> None:
    """Print mean, standard deviation, least and largest of each figure."""
    print(f"\n{title}")
    for name in found[0]:
        values = [figures[name] for figures in found]
        print(f"| {name} | {np.mean(values):.4f} ± {np.std(values):.4f} | {min(values):.4f} to {max(values):.4f} |")


def main() -> None:
    """Train, ask, divide and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--splits", type=int, default=20)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    folder = options.folder.absolute()
    runs = [trained(folder, options.epochs, seed) for seed in range(options.seeds)]
    asked = [said_of_new_galaxies(folder, run) for run in runs]
    table(f"tests of the {len(runs)} runs", [of_its_test(run) for run in runs])
    as_users = [
        of_answers(said, load_package(run / "model", "cpu").answering(said))
        for run, said in zip(runs, asked, strict=True)
    ]
    table("new galaxies, fitted on its own validation images", as_users)
    for method in ("temperature", "vector"):
        found = [of_one_split(said, seed, method) for said in asked for seed in range(options.splits)]
        table(f"{method}: {options.splits} divisions into {VALIDATED} and the rest, each network", found)
    for images in FEW:
        draws = [of_few(said, images, seed) for said in asked for seed in range(SMALL_DRAWS)]
        table(f"{images} validation images, {SMALL_DRAWS} draws, each network", draws)


if __name__ == "__main__":
    main()
