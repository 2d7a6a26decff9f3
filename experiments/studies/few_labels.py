"""What a thousand labelled galaxies give, from random weights and from simulated galaxies.

    python experiments/studies/few_labels.py FOLDER --data GALAXIES [--arms NAME ...] [--splits NAME ...] [--seeds 0 1]

GALAXIES is a folder of labelled pictures with labels.csv (path, label, ra_deg, dec_deg). Each arm is trained in FOLDER
from several seeds, which draw other splits too, with test images of the same patch of sky or of other patches. All arms
of a seed have the same split. Each model is asked about its test images a second time, as a shallower exposure would
show them. A training that is complete is taken as it is, so that the study goes on where it was stopped. Prints the
table of experiments/few_labels.md and writes experiments/studies/few_labels/few_labels.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
from scipy import stats

from astroclf.data.augment.survey import FWHM, brightness_table, flux_of_brightness
from astroclf.evaluation.predictions import read_predictions
from astroclf.registry.load import load

HERE = Path(__file__).parent / "few_labels"
SOFTENING = 0.02  # of the color pictures of the Legacy Surveys
SEEING = 1.25 / 0.262  # pixels: FWHM of a usual night of theirs
WORSE_SEEING, MORE_NOISE = 1.5, 2.0  # a shallower exposure
FRAME = 32  # pixels of sky on each side
COLUMNS = ("accuracy", "macro_f1", "log_loss", "shallower")
SPLITS = {"same patch": (), "other patches": ("dataset.split_by=sky",)}
SMALL = ("experiment=few_labels", "dataset.crop=160")
SCRATCH = "backbone.weights=null"
SIMULATED = "backbone.weights={runs}/simulated"
PHOTOGRAPHS = ("experiment=finetune_small", "dataset.crop=160")  # EfficientNet-Lite0 with ImageNet weights, 128 px
ARMS: dict[str, tuple[str, ...]] = {
    "from scratch": (*SMALL, SCRATCH),
    "simulated first": (*SMALL, SIMULATED),
    "simulated first, augment=survey": (*SMALL, SIMULATED, "augment=survey"),
    "simulated first, whole picture": (*SMALL, SIMULATED, "dataset.crop=null"),
    "EfficientNet, 16 epochs": PHOTOGRAPHS,
    "EfficientNet, 40 epochs": (*PHOTOGRAPHS, "trainer.epochs=40"),
}
# What the arms begin with: an ordinary training on simulated galaxies of the same ten classes
BEFORE = {"simulated": ("experiment=simulated_lesson",)}


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


def trained(folder: Path, name: str, words: tuple[str, ...]) -> Path:
    """Return the run folder of a training in `folder`, which is begun, continued or taken as it is."""
    run = folder / "runs" / name
    if not (run / "metrics.json").is_file():
        begun = (run / "checkpoints" / "last.pt").is_file()
        command = [sys.executable, "-m", "astroclf.train"]
        command += [f"resume={run}"] if begun else [*words, "tracking=none", f"hydra.run.dir={run}"]
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        with (folder / "logs" / f"{name}.txt").open("a") as log:
            environment = {**os.environ, "ASTROCLF_CACHE": str(folder / "cache")}
            subprocess.run(command, cwd=folder, env=environment, check=True, stdout=log, stderr=log)
    return run


def figures_of(run: Path, shallow: Path) -> dict[str, float]:
    """Return the figures of a run's test, and of the same images from a shallower exposure."""
    metrics = json.loads((run / "metrics.json").read_text())
    figures = {key: metrics[f"test/{key}"] for key in ("accuracy", "macro_f1", "log_loss", "images")}
    figures["minutes"] = metrics["run/seconds"] / 60
    kept = run / "shallower.json"
    if not kept.is_file():
        test = read_predictions(run / "predictions.csv")
        paths = [str((shallow / name).with_suffix(".png")) for name in test.ids]
        predicted = load(str(run), device="cpu").predict(paths)["label"].to_numpy()
        kept.write_text(json.dumps({"accuracy": float(np.mean(predicted == np.array(test.classes)[test.truth]))}))
    figures["shallower"] = json.loads(kept.read_text())["accuracy"]
    return figures


def mean_interval(values: list[float]) -> str:
    """Say a mean and its 95 % interval over seeds, by Student's t."""
    mean = np.mean(values)
    if len(values) < 2:
        return f"{mean:.3f}"
    half = stats.t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / np.sqrt(len(values))
    return f"{mean:.3f} ± {half:.3f}"


def words_of(arm: str, split: str, seed: int, folder: Path, data: Path) -> tuple[str, ...]:
    """Return the command line of a training of the study."""
    own = (
        "dataset=folder", f"dataset.path={data}", "dataset.table=labels.csv", "dataset.columns.ra=ra_deg",
        "dataset.columns.dec=dec_deg", f"seed={seed}", f"dataset.split_seed={seed}",
    )  # fmt: skip
    arms = (word.format(runs=folder / "runs") for word in ARMS[arm])
    return (*own, *SPLITS[split], *arms)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--splits", nargs="+", choices=SPLITS, default=list(SPLITS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    folder, data = options.folder.absolute(), options.data.absolute()
    write_shallower(data, folder / "shallower")
    for name, words in BEFORE.items():
        trained(folder, name, words)
    rows = []
    for seed in options.seeds:
        for split in options.splits:
            for arm in options.arms:
                name = f"{arm}-{split}-{seed}".replace(" ", "_").replace(",", "")
                run = trained(folder, name, words_of(arm, split, seed, folder, data))
                rows.append({"arm": arm, "split": split, "seed": seed, **figures_of(run, folder / "shallower")})
                print(json.dumps(rows[-1]), flush=True)
    for arm in options.arms:
        for split in options.splits:
            own = [row for row in rows if (row["arm"], row["split"]) == (arm, split)]
            said = [mean_interval([row[key] for row in own]) for key in COLUMNS]
            print(f"| {arm} | {split} | {len(own)} | " + " | ".join(said) + " |")
    HERE.mkdir(exist_ok=True)
    (HERE / "few_labels.json").write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
