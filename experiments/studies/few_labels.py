"""What a thousand labelled galaxies give, from random weights and from simulated galaxies.

    python experiments/studies/few_labels.py FOLDER --data GALAXIES [--short] [--arms NAME ...] [--splits NAME ...]
                                             [--seeds 0 1] [--jobs 2]

GALAXIES is a folder of labelled pictures with labels.csv (path, label, ra_deg, dec_deg). Each arm is trained in FOLDER
from several seeds, which draw other splits too, with test images of the same patch of sky or of other patches. All arms
of a seed have the same split. Each model is asked about its test images a second time, as a shallower exposure would
show them. --short: at 64 px in 20 epochs, and every ingredient of its own. A training that is complete is taken as it
is, so that the study goes on where it was stopped. Prints the tables of experiments/few_labels.md, and writes figures
and plot into experiments/studies/few_labels.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import stats

from astroclf.data.augment.survey import FWHM, brightness_table, flux_of_brightness
from astroclf.evaluation.metrics import classification_metrics
from astroclf.evaluation.predictions import read_predictions
from astroclf.registry.load import load
from astroclf.util.atomic import write_text
from astroclf.util.figures import BLUE, ORANGE, figure
from astroclf.util.threads import available_cores

HERE = Path(__file__).parent / "few_labels"
SOFTENING = 0.02  # of the color pictures of the Legacy Surveys
SEEING = 1.25 / 0.262  # pixels: FWHM of a usual night of theirs
WORSE_SEEING, MORE_NOISE = 1.5, 2.0  # a shallower exposure
FRAME = 32  # pixels of sky on each side
FIGURES = ("accuracy", "macro_f1", "log_loss")
COLUMNS = (*FIGURES, "shallower")
SPLITS = {"same patch": (), "other patches": ("dataset.split_by=sky",)}
SMALL = ("experiment=few_labels", "dataset.crop=160")
SCRATCH = "backbone.weights=null"
SIMULATED = "backbone.weights={runs}/simulated"
PHOTOGRAPHS = ("experiment=finetune_small", "dataset.crop=160")  # EfficientNet-Lite0 with ImageNet weights, 128 px
# What a search over learning rate, weight decay and batch size chose on 100 validation images
SEARCHED = ("optimizer.lr=7e-4", "optimizer.weight_decay=0.17", "trainer.batch_size=32")
BASE = "simulated first"
ENSEMBLE, MEMBERS = "ensemble of 4", 4
DISTILLED = "distilled from the ensemble"
ARMS: dict[str, tuple[str, ...]] = {  # an ensemble is not trained: its members are those of BASE, and three others
    "from scratch": (*SMALL, SCRATCH),
    BASE: (*SMALL, SIMULATED),
    "EfficientNet, 16 epochs": PHOTOGRAPHS,
    "EfficientNet, 40 epochs": (*PHOTOGRAPHS, "trainer.epochs=40"),
}
# One ingredient each, more or less than BASE; in the short study alone
INGREDIENTS: dict[str, tuple[str, ...]] = {
    "whole picture": (*SMALL, SIMULATED, "dataset.crop=null"),
    "longer lesson": (*SMALL, "backbone.weights={runs}/longer"),
    "pretrained without labels": (*SMALL, "backbone.weights={runs}/unlabelled"),
    "augment=survey": (*SMALL, SIMULATED, "augment=survey"),
    "TrivialAugment": (*SMALL, SIMULATED, "augment.trivial=true"),
    "MixUp": (*SMALL, SIMULATED, "augment.mixup=0.2"),
    "CutMix": (*SMALL, SIMULATED, "augment.cutmix=1"),
    "sharpness-aware": (*SMALL, SIMULATED, "optimizer=sam"),
    "without EMA": (*SMALL, SIMULATED, "trainer.ema_decay=null"),
    "searched rates": (*SMALL, SIMULATED, *SEARCHED),
    "resnet18_d4 from scratch": (*SMALL, SCRATCH, "backbone=resnet18_d4"),
    # The same numbers, computed otherwise: experiments/precision.md
    "in fp32": (*SMALL, SIMULATED, "trainer.precision=fp32"),
    "torch's convolutions": (*SMALL, SIMULATED, "trainer.conv_autotune=false"),
    "compiled": (*SMALL, SIMULATED, "trainer.compile=true"),
    ENSEMBLE: (),
    DISTILLED: (*SMALL, SIMULATED, "loss.teacher={members}"),
}
# What the arms begin with, on the simulated galaxies of the same ten classes; the last one does not see their labels
BEFORE: dict[str, tuple[str, ...]] = {
    "simulated": ("train", "experiment=simulated_lesson"),
    "longer": ("train", "experiment=simulated_lesson", "trainer.epochs=12"),
    "unlabelled": ("pretrain", "dataset.samples=20000", "trainer.batch_size=256", "trainer.epochs=3"),
}
SHORT_BEFORE = ("dataset.image_size=64",)
SHORT = (*SHORT_BEFORE, "trainer.epochs=20")


@dataclass(frozen=True)
class Training:
    """A training of the study: after all of an earlier stage, which verb, and its command line."""

    stage: int
    verb: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """A row of the table, and the names of the trainings that it is about: one, or the members of an ensemble."""

    arm: str
    split: str
    seed: int
    trainings: list[str]


def noise_of_frame(fluxes_HWC: np.ndarray) -> np.ndarray:
    """Estimate the noise of each band, (C,), from the scatter of a frame around the object."""
    inner = np.zeros(fluxes_HWC.shape[:2], bool)
    inner[FRAME:-FRAME, FRAME:-FRAME] = True
    return stats.median_abs_deviation(fluxes_HWC[~inner], axis=0, scale="normal")


def shallower(image_HWC: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a picture as with seeing 1.5 times as wide and twice the noise of the sky, (H, W, 3) uint8."""
    fluxes, _ = flux_of_brightness(SOFTENING)
    sharp = fluxes[image_HWC]
    sigma = SEEING * np.sqrt(WORSE_SEEING**2 - 1) / FWHM
    blurred = cv2.GaussianBlur(sharp, (0, 0), sigma)
    added_C = np.sqrt(np.maximum((MORE_NOISE * noise_of_frame(sharp)) ** 2 - noise_of_frame(blurred) ** 2, 0))
    noisy = np.clip(blurred + added_C * rng.standard_normal(blurred.shape), 0, 1)
    table = brightness_table(SOFTENING)
    return np.rint(table[np.rint(noisy * (len(table) - 1)).astype(np.int64)]).astype(np.uint8)


def write_shallower(data: Path, folder: Path) -> None:
    """Write all pictures of `data` as a shallower exposure would show them, under the same names with .png."""
    if (folder / "complete").exists():
        return
    for number, path in enumerate(sorted(data.rglob("*.jpg"))):
        target = (folder / path.relative_to(data)).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        image = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        drawn = shallower(image, np.random.default_rng(number))
        cv2.imwrite(str(target), cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))
    (folder / "complete").touch()


def trained(folder: Path, name: str, verb: str, words: tuple[str, ...]) -> Path:
    """Return the run folder of a training in `folder`, which is begun, continued or taken as it is."""
    run = folder / "runs" / name
    if not (run / "metrics.json").is_file():
        begun = (run / "checkpoints" / "last.pt").is_file()
        command = [sys.executable, "-m", f"astroclf.{verb}"]
        command += [f"resume={run}"] if begun else [*words, "tracking=none", f"hydra.run.dir={run}"]
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        with (folder / "logs" / f"{name}.txt").open("a") as log:
            environment = {**os.environ, "ASTROCLF_CACHE": str(folder / "cache")}
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=log, stderr=log)
    return run


def figures_of(runs: list[Path], shallow: Path) -> dict[str, float]:
    """Return the figures of a run's test, or of several as an ensemble, and of the images from a shallower exposure."""
    metrics = [json.loads((run / "metrics.json").read_text()) for run in runs]
    figures = {key: metrics[0][f"test/{key}"] for key in FIGURES}
    figures["minutes"] = sum(each["run/seconds"] for each in metrics) / 60
    test = read_predictions(runs[0] / "predictions.csv")
    if len(runs) > 1:
        mean_NK = np.mean([read_predictions(run / "predictions.csv").probabilities for run in runs], axis=0)
        together = classification_metrics(mean_NK, test.truth, test.classes)
        figures |= {key: together[key] for key in FIGURES}
    kept = runs[0] / f"shallower-{len(runs)}.json"
    if not kept.is_file():
        paths = [str((shallow / name).with_suffix(".png")) for name in test.ids]
        predicted = load([str(run) for run in runs], device="cpu").predict(paths)["label"].to_numpy()
        kept.write_text(json.dumps({"accuracy": float(np.mean(predicted == np.array(test.classes)[test.truth]))}))
    figures["shallower"] = json.loads(kept.read_text())["accuracy"]
    return figures


def mean_interval(values: list[float], sign: str = "") -> str:
    """Say a mean and its 95 % interval over seeds, by Student's t; with the sign ``+``, of a difference."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:{sign}.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:{sign}.3f} ± {half:.3f}"


def plan(folder: Path, data: Path, options: argparse.Namespace) -> tuple[dict[str, Training], list[Row]]:
    """Return all trainings of the study by name, and the rows of its table with the trainings of each."""
    scale = SHORT if options.short else ()
    arms = ARMS | (INGREDIENTS if options.short else {})
    trainings = {
        name: Training(0, verb, (*words, *(SHORT_BEFORE if options.short else ())))
        for name, (verb, *words) in BEFORE.items()
    }
    rows = []

    def add(arm: str, split: str, seed: int, member: int = 0) -> str:
        """Plan a training and those that it needs; return its name."""
        name = f"{arm}-{split}-{seed}".replace(" ", "_").replace(",", "") + (f"-{member}" if member else "")
        members = [add(BASE, split, seed, each) for each in range(MEMBERS)] if arm == DISTILLED else []
        teachers = "[" + ",".join(str(folder / "runs" / each) for each in members) + "]"
        own = (
            "dataset=folder", f"dataset.path={data}", "dataset.table=labels.csv", "dataset.columns.ra=ra_deg",
            "dataset.columns.dec=dec_deg", f"seed={seed + 1000 * member}", f"dataset.split_seed={seed}",
        )  # fmt: skip
        words = (word.format(runs=folder / "runs", members=teachers) for word in arms[arm])
        trainings[name] = Training(2 if members else 1, "train", (*own, *SPLITS[split], *words, *scale))
        return name

    for seed, split, arm in itertools.product(options.seeds, options.splits, options.arms or arms):
        asked = [(BASE, member) for member in range(MEMBERS)] if arm == ENSEMBLE else [(arm, 0)]
        rows.append(Row(arm, split, seed, [add(each, split, seed, member) for each, member in asked]))
    needed = " ".join(word for training in trainings.values() for word in training.words)
    return {name: each for name, each in trainings.items() if each.stage or f"/{name} " in f"{needed} "}, rows


def levels(rows: list[dict]) -> list[str]:
    """Return a table of the figures of each arm and kind of split, with intervals over the seeds."""
    lines = []
    for arm, split in dict.fromkeys((row["arm"], row["split"]) for row in rows):
        own = [row for row in rows if (row["arm"], row["split"]) == (arm, split)]
        said = [mean_interval([row[key] for row in own]) for key in COLUMNS]
        lines.append(f"| {arm} | {split} | {len(own)} | " + " | ".join(said) + " |")
    return lines


def beside_base(rows: list[dict]) -> dict[str, list[tuple[dict, dict]]]:
    """Return the rows of each other arm, each with that of `BASE` on the same seed and kind of split."""
    base = {(row["split"], row["seed"]): row for row in rows if row["arm"] == BASE}
    pairs: dict[str, list[tuple[dict, dict]]] = {row["arm"]: [] for row in rows if row["arm"] != BASE}
    for row in rows:
        if row["arm"] != BASE and (row["split"], row["seed"]) in base:
            pairs[row["arm"]].append((row, base[row["split"], row["seed"]]))
    return pairs


def gains(rows: list[dict]) -> list[str]:
    """Return a table of what each arm has more than `BASE` on the same seed and kind of split."""
    lines = []
    for arm, pairs in beside_base(rows).items():
        said = [mean_interval([row[key] - other[key] for row, other in pairs], "+") for key in COLUMNS if pairs]
        lines.append(f"| {arm} | {len(pairs)} | " + " | ".join(said) + " |")
    return lines


def draw(rows: list[dict], path: Path) -> None:
    """Draw what each arm adds to `BASE` on the same splits: every seed, and the mean."""
    arms, splits = beside_base(rows), dict.fromkeys(row["split"] for row in rows)
    with figure(path, 8.5, 1.0 + 0.42 * len(arms)) as axes:
        for shift, color, split in zip((-0.15, 0.15), (BLUE, ORANGE), splits, strict=False):
            for place, pairs in enumerate(arms.values()):
                points = [100 * (row["accuracy"] - base["accuracy"]) for row, base in pairs if row["split"] == split]
                if not points:
                    continue
                label = f"test: {split}" if place == 0 else None
                axes.plot(points, np.full(len(points), place + shift), "o", markersize=3.5, alpha=0.4, color=color)
                axes.plot(
                    np.mean(points), place + shift, "|", markersize=11, markeredgewidth=2, color=color, label=label
                )
        axes.axvline(0, color="#B4B8C0", linewidth=0.8)
        axes.set_yticks(range(len(arms)), arms)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_xlabel(f"accuracy less that of “{BASE}” on the same split, points: each seed, and the mean")
        axes.legend()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--short", action="store_true", help="64 px, 20 epochs, all ingredients")
    parser.add_argument("--arms", nargs="+", choices=ARMS | INGREDIENTS, help="default: all")
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time, which share the cores")
    options = parser.parse_args()
    folder, data = options.folder.absolute(), options.data.absolute()
    trainings, planned = plan(folder, data, options)
    write_shallower(data, folder / "shallower")
    os.environ |= {"OMP_NUM_THREADS": str(max(1, available_cores() // options.jobs)), "OMP_WAIT_POLICY": "PASSIVE"}
    with ThreadPoolExecutor(options.jobs) as pool:
        for stage in range(3):
            due = {name: each for name, each in trainings.items() if each.stage == stage}
            list(pool.map(lambda item: trained(folder, item[0], item[1].verb, item[1].words), due.items()))
    rows = []
    for row in planned:
        figures = figures_of([folder / "runs" / name for name in row.trainings], folder / "shallower")
        rows.append({"arm": row.arm, "split": row.split, "seed": row.seed, **figures})
    print("\n".join([*levels(rows), "", *gains(rows)]))
    HERE.mkdir(exist_ok=True)
    written = HERE / ("ingredients" if options.short else "few_labels")
    write_text(written.with_suffix(".json"), json.dumps(rows, indent=1) + "\n")
    if any(row["arm"] == BASE for row in rows):
        draw(rows, written.with_suffix(".png"))


if __name__ == "__main__":
    main()
