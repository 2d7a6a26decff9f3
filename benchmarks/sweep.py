"""What a sweep's machinery costs a trial: trials of no training steps, with MLflow and SQLite, beside two peers.

    python benchmarks/sweep.py [--trials 20] [--json FILE]

Every contender runs the same trial in the same process-to-process conditions: ResNet18 on 32-pixel simulated galaxies,
`trainer.max_steps=0` (one validation and one checkpoint, no training), records in a fresh SQLite database.

* **sweep**: `-m` with our sweeper, one worker. Seconds from the end of one trial to the end of the next, the median.
* **basic sweeper**: Hydra's own `hydra/sweeper=basic` runs the same command line for each value; a run there is also
  tested and reported on, as a run of its own is. Seconds of the whole divided by runs, less the start of the process.
* **ask and tell**: an Optuna trial and an MLflow run with one metric, nothing else: the floor that the libraries set.

The validation, the checkpoint and building the network are part of a trial without training; `of it in the run`
says how much, so that the rest is the sweep's alone.

Then as many workers as there are cores share them and run trials that train: how much of their time passes between the
end of a trial and the beginning of the next.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import optuna
from mlflow import MlflowClient

from astroclf.tracking.database import ensure_database
from astroclf.util.atomic import write_text
from astroclf.util.threads import available_cores, processor

ROOT = Path(__file__).parents[1]
RUN = (
    "dataset.samples=300", "dataset.image_size=32", "trainer.device=cpu",
)  # fmt: skip


def command(folder: Path, *arguments: str, steps: int = 0) -> float:
    """Run the train command in `folder`, each training of so many steps; its seconds."""
    environment = {**os.environ, "ASTROCLF_CACHE": str(folder / "cache")}
    started = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "astroclf.train", *RUN, f"trainer.max_steps={steps}", *arguments],
        cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    return time.perf_counter() - started


def sweep_seconds(folder: Path, trials: int) -> tuple[float, float]:
    """Median seconds from trial to trial, and of them those inside the run."""
    command(
        folder, "-m", "optimizer.lr=interval(1e-4,1e-2)", f"hydra.sweeper.n_trials={trials}",
        "hydra.sweeper.study_name=bench", "hydra/sweeper/pruner=none",
    )  # fmt: skip
    study = optuna.load_study(study_name="bench", storage=f"sqlite:///{folder}/experiments/optuna.db")
    ends = [trial.datetime_complete.timestamp() for trial in study.trials]
    between = [later - sooner for sooner, later in itertools.pairwise(ends[1:])]  # the first warms up
    sweep = folder / "experiments" / "sweeps" / "bench"
    inside = [
        json.loads((sweep / str(number) / "metrics.json").read_text())["run/seconds"] for number in range(2, trials)
    ]
    return statistics.median(between), statistics.median(inside)


def idle_share(folder: Path, trials: int, workers: int) -> float:
    """Return the share of the workers' time that passes between a trial's end and the next one's beginning."""
    command(
        folder, "-m", "optimizer.lr=interval(1e-4,1e-2)", f"hydra.sweeper.n_trials={trials}",
        f"hydra.sweeper.n_jobs={workers}", "hydra.sweeper.study_name=workers", "hydra/sweeper/pruner=none",
        steps=100,
    )  # fmt: skip
    study = optuna.load_study(study_name="workers", storage=f"sqlite:///{folder}/experiments/optuna.db")
    spans = [(each.datetime_start.timestamp(), each.datetime_complete.timestamp()) for each in study.trials]
    lanes: list[list[tuple[float, float]]] = []
    for span in sorted(spans):
        ended = [lane for lane in lanes if lane[-1][1] <= span[0]]
        if ended:
            max(ended, key=lambda lane: lane[-1][1]).append(span)
        else:
            lanes.append([span])
    idle = sum(later[0] - sooner[1] for lane in lanes for sooner, later in itertools.pairwise(lane))
    return idle / sum(lane[-1][1] - lane[0][0] for lane in lanes)


def basic_seconds(folder: Path, runs: int) -> float:
    """Seconds a run with Hydra's basic sweeper: of many runs less those of one."""
    arguments = ("-m", "hydra/sweeper=basic", "tracking.register=false")
    one = command(folder, *arguments, "seed=0")
    many = command(folder, *arguments, f"seed=range(1,{runs + 2})")
    return (many - one) / runs


def floor_seconds(folder: Path, trials: int) -> float:
    """Median seconds of an Optuna trial and an MLflow run that hold one number."""
    uri = ensure_database(f"sqlite:///{folder}/floor.db")
    client = MlflowClient(uri, uri)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(storage=f"sqlite:///{folder}/floor-optuna.db")
    seconds = []
    for _ in range(trials):
        started = time.perf_counter()
        trial = study.ask()
        value = trial.suggest_float("lr", 1e-4, 1e-2)
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "value", value)
        client.set_terminated(run.info.run_id)
        study.tell(trial, value)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "sweep.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command(folder, "tracking=none")  # the data set, the tables, the compiled files
        between, inside = sweep_seconds(folder, options.trials)
        rows = {
            "sweep, a trial without training": between,
            "  of it in the run (network, validation, checkpoint, MLflow)": inside,
            "  of it the sweep's own": between - inside,
            "Hydra's basic sweeper, the same run": basic_seconds(folder, max(4, options.trials // 4)),
            "ask and tell, an empty MLflow run": floor_seconds(folder, options.trials),
        }
        workers = max(2, available_cores())
        idle = idle_share(folder, 4 * workers, workers)
    width = max(map(len, rows))
    for label, seconds in rows.items():
        print(f"{label:<{width}}  {seconds:7.3f} s  {seconds / between:5.2f}")
    print(f"{workers} workers, trials of 100 steps: {idle:.1%} of their time between trials")
    machine = {"processor": processor(), "cores": available_cores(), "system": platform.platform()}
    result = {"machine": machine, "trials": options.trials, "seconds": rows, "workers": workers, "idle_share": idle}
    write_text(options.json, json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
