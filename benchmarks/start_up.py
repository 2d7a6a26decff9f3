"""What comes before and beside the training: help, a mistyped key, the first step, records, checkpoints, validation.

    python benchmarks/start_up.py [--rounds 2] [--samples 1000] [--json FILE]

Seconds of whole processes, the median over the rounds, in which all commands take their turn; each is told as it ends.
*First run* has to simulate and decode its images, *second run* finds them; both take one step. The last rows are
trainings of two epochs with and without what surrounds the steps; what each costs is the difference. Beside them stands
what a process takes to import the libraries that it is made of, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from astroclf.util.atomic import write_text
from astroclf.util.threads import available_cores, processor

ROOT = Path(__file__).parents[1]
TRAIN = ("-m", "astroclf.train")
ONE_STEP = ("trainer.max_steps=1", "trainer.max_eval_batches=1", "tracking=none")
BARE = ("tracking=none", "trainer.validate_every=2", "trainer.keep_lowest_loss=0", "dataset.near_duplicates=false")


class Bench:
    """Commands in an empty folder, with a cache of their own.

    Parameters
    ----------
    samples
        How many galaxies are simulated, at 32 px.
    """

    def __init__(self, folder: Path, samples: int) -> None:
        self.folder, self.words = folder, (f"dataset.samples={samples}", "dataset.image_size=32", "trainer.device=cpu")

    def seconds(self, *arguments: str, fails: bool = False) -> float:
        """Return the seconds of a Python process.

        Raises
        ------
        RuntimeError
            It ended as was not expected.
        """
        environment = {**os.environ, "ASTROCLF_CACHE": str(self.folder / "cache"), "PYTHONPATH": str(ROOT)}
        began = time.perf_counter()
        done = subprocess.run(
            [sys.executable, *arguments], cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - began
        if (done.returncode != 0) is not fails:
            raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}:\n{done.stderr[-2000:]}")
        return seconds

    def first(self) -> float:
        """Return the seconds of a run that finds no images."""
        shutil.rmtree(self.folder / "cache", ignore_errors=True)
        return self.seconds(*TRAIN, *ONE_STEP, *self.words)

    def training(self, *words: str) -> float:
        """Return the seconds of two epochs."""
        return self.seconds(*TRAIN, "trainer.epochs=2", *self.words, *words)


def commands(bench: Bench) -> dict[str, Callable[[], float]]:
    """Name all that takes turns."""
    return {
        "python -c 'import torch'": lambda: bench.seconds("-c", "import torch"),
        "python -c 'import mlflow'": lambda: bench.seconds("-c", "import mlflow"),
        "python -c 'import hydra, optuna'": lambda: bench.seconds("-c", "import hydra, optuna"),
        "astroclf --help": lambda: bench.seconds("-m", "astroclf", "--help"),
        "astroclf train --help": lambda: bench.seconds(*TRAIN, "--help"),
        "astroclf train, a mistyped key": lambda: bench.seconds(*TRAIN, "trainer.epoch=3", fails=True),
        "first run, one step": bench.first,
        "second run, one step": lambda: bench.seconds(*TRAIN, *ONE_STEP, *bench.words),
        "two epochs": lambda: bench.training(*BARE),
        "  with the search for near duplicates": lambda: bench.training(*BARE, "dataset.near_duplicates=true"),
        "  with a validation and a checkpoint after each quarter": lambda: bench.training(
            *BARE, "trainer.validate_every=0.25", "trainer.keep_lowest_loss=1"
        ),
        "  with MLflow's records and the registry": lambda: bench.training(*BARE, "tracking=mlflow"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--samples", type=int, default=1000, help="simulated galaxies")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "start_up.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        turns = commands(Bench(Path(name), options.samples))
        rounds: dict[str, list[float]] = {label: [] for label in turns}
        for number in range(options.rounds):
            for label, run in turns.items():
                rounds[label].append(run())
                print(f"round {number + 1}: {label.strip()}: {rounds[label][-1]:.2f} s", file=sys.stderr, flush=True)
            write_result(options.json, options.samples, rounds)
    width = max(map(len, rounds))
    print(f"{'seconds':<{width}}{'median':>9}{'lowest':>9}{'highest':>9}")
    for label, seconds in rounds.items():
        print(f"{label:<{width}}{statistics.median(seconds):>9.2f}{min(seconds):>9.2f}{max(seconds):>9.2f}")
    print(f"written to {options.json}")


def write_result(path: Path, samples: int, rounds: dict[str, list[float]]) -> None:
    """Write what is known so far."""
    machine = {"processor": processor(), "cores": available_cores(), "system": platform.platform()}
    write_text(path, json.dumps({"machine": machine, "samples": samples, "seconds": rounds}, indent=1) + "\n")


if __name__ == "__main__":
    main()
