"""Whether the learning rate that `astroclf find_lr` suggests trains better than the one that an experiment has.

    OMP_NUM_THREADS=1 python experiments/studies/learning_rate.py FOLDER --seeds 3 WORDS

WORDS are those of `astroclf train`. Measures the suggestion with them, trains with each of both learning rates from
several seeds, on the same split, and prints the table of experiments/learning_rate.md. A stopped study goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import subprocess
import sys
from pathlib import Path

import yaml

FIGURES = ("accuracy", "macro_f1", "log_loss")


def run(verb: str, folder: Path, words: list[str]) -> None:
    """Run a verb in a folder of its own, without records elsewhere."""
    command = [sys.executable, "-m", f"astroclf.{verb}", *words, "tracking=none", f"hydra.run.dir={folder}"]
    subprocess.run(command, check=True)


def suggested(folder: Path, words: list[str]) -> float:
    """Return a tenth of the learning rate at which the smoothed loss was lowest, as `find_lr` suggests it."""
    if not (folder / "lr_range.csv").is_file():
        run("find_lr", folder, words)
    with (folder / "lr_range.csv").open(encoding="utf-8") as file:
        lowest = min(csv.DictReader(file), key=lambda row: float(row["smoothed"]))
    return float(f"{float(lowest['lr']) / 10:.2g}")


def tested(folder: Path, words: list[str]) -> dict[str, float]:
    """Return the figures of a training; one that is complete is taken as it is."""
    if not (folder / "metrics.json").is_file():
        resume = [f"resume={folder}"] if (folder / "checkpoints" / "last.pt").is_file() else words
        run("train", folder, resume)
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {name: metrics[f"test/{name}"] for name in FIGURES}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=lambda text: Path(text).absolute())
    parser.add_argument("--seeds", type=int, default=3)
    asked, words = parser.parse_known_args()
    found = suggested(asked.folder / "find_lr", words)
    rows = {}
    for seed in range(asked.seeds):
        rows["as it is", seed] = tested(asked.folder / f"own-{seed}", [*words, f"seed={seed}"])
        rows["find_lr", seed] = tested(
            asked.folder / f"found-{seed}", [*words, f"seed={seed}", f"optimizer.lr={found}"]
        )
    config = yaml.safe_load((asked.folder / "own-0" / "config.yaml").read_text(encoding="utf-8"))
    rates = {"as it is": config["optimizer"]["lr"], "find_lr": found}
    print("| learning rate | accuracy of each seed | accuracy | macro F1 | log loss |\n|---|---|---|---|---|")
    for name, rate in rates.items():
        each = [rows[name, seed] for seed in range(asked.seeds)]
        singly = ", ".join(f"{row['accuracy']:.3f}" for row in each)
        means = " | ".join(f"{statistics.mean(row[figure] for row in each):.3f}" for figure in FIGURES)
        print(f"| {rate:g}, {name} | {singly} | {means} |")


if __name__ == "__main__":
    main()
