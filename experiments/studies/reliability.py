"""What becomes of killed runs and sweeps, and of full disks: each count of experiments/reliability.md.

    python -m experiments.studies.reliability FOLDER [--quick]

From the root of a checkout, on Linux. Runs and trials die at their file operations, one after the other, and are gone
on with; a sweep is killed with -9 at random times and started again; runs meet real disks of many sizes, which then
grow.
Everything happens in FOLDER. Prints the table, and writes experiments/studies/reliability/reliability.json.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import torch

from astroclf.run.build import ProcessCache, TrialContext
from astroclf.run.folder import RunFolder
from astroclf.run.train import fit, train
from tests.config.test_validate import config
from tests.engine.test_trainer import assert_equal_states
from tests.faults import DEAD, die_at, in_child
from tests.run.test_killed import RUN, killed_at, outcome
from tests.small_disk import is_possible, on_small_disks

HERE = Path(__file__).parent
SWEEP = (
    "-m", "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu",
    "trainer.epochs=3", "trainer.batch_size=16", "tracking=none", "hydra.sweeper.study_name=night",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_jobs=2",
)  # fmt: skip
SMALLEST_KIB, LARGEST_KIB = 8, 160_000  # of disks: nothing fits, and nearly all


def killed_runs(folder: Path, points: int, *, whole: bool) -> dict[str, int]:
    """Let a run, or a trial, die at `points` of its file operations, and go on with each; counts what came of it."""
    asked = config(*RUN, f"dataset.cache_dir={folder / 'cache'}")
    cache = ProcessCache()
    cache.data(asked)

    def begin(place: RunFolder) -> Any:
        if whole:
            return train(asked, place, "astroclf train", cache)
        return fit(asked, place, "astroclf train", cache, TrialContext())

    name = "run" if whole else "trial"
    begin(RunFolder.new(folder / f"{name}-whole"))
    expected = outcome(folder / f"{name}-whole")
    seen = folder / f"{name}-operations.txt"

    def count() -> None:
        file = os.open(seen, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        die_at(0, folder / f"{name}-counted", lambda operation: os.write(file, b"."))
        begin(RunFolder.new(folder / f"{name}-counted"))

    in_child(count)
    operations = seen.stat().st_size
    found = Counter({"file operations": operations})
    for number in range(1, operations + 1, max(1, operations // points)):
        place = folder / f"{name}-{number}"
        found["killed"] += killed_at(number, place, begin) == DEAD
        with contextlib.suppress(AssertionError):
            assert_equal_states(outcome(place), expected)
            found["ended bit-equal"] += 1
    return dict(found)


def killed_sweep(
    folder: Path, trials: int, kills: int, rng: random.Random, environment: dict[str, str]
) -> dict[str, int]:
    """Kill a sweep with -9 so many times, its coordinator or a worker, let it end, and count its trials."""
    folder.mkdir()
    command = [sys.executable, "-m", "astroclf.train", *SWEEP, f"hydra.sweeper.n_trials={trials}"]
    found: Counter[str] = Counter()
    while True:
        with (folder / "output.txt").open("a") as log:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        while process.poll() is None and found["killed"] < kills:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(rng.uniform(4, 14))
            if process.poll() is None:
                found["killed"] += 1
                if _kill_a_worker(process.pid) if rng.random() < 0.5 else _kill_all(process):
                    continue
        process.wait()
        found["starts"] += 1
        if process.returncode != -signal.SIGKILL:
            break
    with contextlib.closing(sqlite3.connect(folder / "experiments" / "optuna.db")) as database:
        states = Counter(state for (state,) in database.execute("SELECT state FROM trials"))
    folders = [path for path in (folder / "experiments" / "sweeps" / "night").iterdir() if path.name.isdigit()]
    return {
        **found,
        "exit status": process.returncode,
        "trials asked for": trials,
        "trials finished": states["COMPLETE"] + states["PRUNED"],
        "trials in all": sum(states.values()),
        "folders": len(folders),
    }


def _kill_a_worker(coordinator: int) -> bool:
    for child in psutil.Process(coordinator).children():
        with contextlib.suppress(psutil.Error):  # one that has just died
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()
                break
    return True


def _kill_all(process: subprocess.Popen[bytes]) -> bool:
    process.kill()  # the coordinator alone: its workers save, and end by themselves
    process.wait()
    return False


def small_disks(folder: Path, points: int, environment: dict[str, str]) -> dict[str, int]:
    """Train on disks from nearly nothing to nearly enough, which then grow; counts what was said, left and ended."""
    ratio = (LARGEST_KIB / SMALLEST_KIB) ** (1 / max(1, points - 1))
    sizes: list[int | None] = [None, *(round(SMALLEST_KIB * ratio**step) for step in range(points))]
    words = [
        "train", *(word for word in RUN if word not in ("trainer.epochs=2", "tracking=none")), "trainer.epochs=1",
        f"dataset.cache_dir={folder / 'cache'}",
    ]  # fmt: skip
    disk = folder / "disk"
    disk.mkdir()
    found: Counter[str] = Counter()
    for result in on_small_disks(disk, [{"kib": size, "words": words} for size in sizes], environment):
        found["disks"] += 1
        found["refused"] += result["status"] != 0
        found["in one paragraph"] += "Error: " in result["said"] and "Traceback" not in result["said"]
        found["files left half-written"] += len(result["left"])
        found["gone on from a checkpoint"] += result["resumed"]
        found["ended once there was room"] += result["again"] == 0
    return dict(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few points of each")
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    os.chdir(folder)
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "ASTROCLF_CACHE": str(folder / "cache")}
    torch.set_num_threads(1)
    quick, rng = options.quick, random.Random(0)
    studies: dict[str, Callable[[], dict[str, int]]] = {
        "runs killed in a file operation": lambda: killed_runs(folder, 4 if quick else 30, whole=True),
        "trials killed in a file operation": lambda: killed_runs(folder, 4 if quick else 60, whole=False),
        "sweep killed with -9": lambda: killed_sweep(
            folder / "sweep", 4 if quick else 24, 2 if quick else 8, rng, environment
        ),
    }
    if is_possible():
        studies["disks that are full or read-only"] = lambda: small_disks(folder, 3 if quick else 9, environment)
    results: dict[str, Any] = {}
    for name, study in studies.items():
        started = time.monotonic()
        with contextlib.redirect_stdout(sys.stderr):  # the table alone is for stdout
            results[name] = study() | {"seconds": round(time.monotonic() - started)}
    (HERE / "reliability").mkdir(exist_ok=True)
    (HERE / "reliability" / "reliability.json").write_text(json.dumps(results, indent=1) + "\n")
    print("| what | counts |\n|---|---|")
    for name, counts in results.items():
        print(f"| {name} | {'; '.join(f'{key} {value}' for key, value in counts.items())} |")


if __name__ == "__main__":
    main()
