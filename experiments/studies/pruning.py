"""Best value against trained images: random search without pruning beside TPE with Hyperband, several seeds.

    python experiments/studies/pruning.py FOLDER [--seeds 3] [--trials 27]

Runs the sweeps with the real command in FOLDER (a sweep that was stopped goes on), then draws
experiments/studies/pruning/pruning.png and prints the table of experiments/pruning.md.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import optuna

from astroclf.util.figures import figure

HERE = Path(__file__).parent
METHODS = {
    "random, no pruning": ("random", "none"),
    "TPE, Hyperband": ("tpe", "hyperband"),
}
EPOCHS = 9
SPACE = (
    "optimizer.lr=tag(log,interval(1e-5,1e-1))",
    "optimizer.weight_decay=tag(log,interval(1e-4,1.0))",
    "loss=cross_entropy,focal",
    "augment=none,dihedral",
    "trainer.batch_size=16,32,64",
)
RUN = (
    "dataset.samples=700", "dataset.image_size=32", f"trainer.epochs={EPOCHS}",
    "trainer.device=cpu", "tracking=none",
)  # fmt: skip


def sweep(folder: Path, method: str, seed: int, trials: int) -> optuna.Study:
    """Run a sweep to its end, or find it there."""
    sampler, pruner = METHODS[method]
    name = f"{sampler}-{pruner}-{seed}"
    command = [
        sys.executable, "-m", "astroclf.train", "-m", *RUN, *SPACE, f"hydra/sweeper/sampler={sampler}",
        f"hydra/sweeper/pruner={pruner}", f"hydra.sweeper.sampler.seed={seed}", f"hydra.sweeper.study_name={name}",
        f"hydra.sweeper.n_trials={trials}", "hydra.sweeper.keep_checkpoints=1", "hydra.sweeper.n_jobs=2",
        "hydra.sweeper.max_failure_rate=1.0",
    ]  # fmt: skip
    environment = {**os.environ, "ASTROCLF_CACHE": str(folder / "cache")}
    with (folder / f"{name}.txt").open("w") as log:
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=log, stderr=log)
    return optuna.load_study(study_name=name, storage=f"sqlite:///{folder}/experiments/optuna.db")


def curve(study: optuna.Study) -> tuple[np.ndarray, np.ndarray]:
    """After each trial: epochs trained so far in all trials, and the best value; a failed trial counts its epochs."""
    epochs = np.cumsum([len(trial.intermediate_values) for trial in study.trials])
    values = [trial.value if trial.state.name == "COMPLETE" else -np.inf for trial in study.trials]
    return epochs, np.maximum.accumulate(np.array(values, float))


def epochs_to(study: optuna.Study, value: float) -> float:
    """Epochs until the best value was at least this; infinity if it never was."""
    epochs, best = curve(study)
    reached = np.flatnonzero(best >= value)
    return float(epochs[reached[0]]) if len(reached) else np.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--trials", type=int, default=27)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    studies = {
        method: [sweep(options.folder, method, seed, options.trials) for seed in range(options.seeds)]
        for method in METHODS
    }
    rows = []
    plain, pruned = METHODS
    for seed, (one, other) in enumerate(zip(studies[plain], studies[pruned], strict=True)):
        goal = min(curve(one)[1][-1], curve(other)[1][-1])  # what both reached
        rows.append(
            {
                "seed": seed,
                **{f"{m}: best": curve(s)[1][-1] for m, s in ((plain, one), (pruned, other))},
                **{f"{m}: epochs": int(curve(s)[0][-1]) for m, s in ((plain, one), (pruned, other))},
                "value both reached": goal,
                **{f"{m}: epochs to it": epochs_to(s, goal) for m, s in ((plain, one), (pruned, other))},
            }
        )
        print(json.dumps(rows[-1], indent=1))
    (HERE / "pruning").mkdir(exist_ok=True)
    (HERE / "pruning" / "pruning.json").write_text(json.dumps(rows, indent=1) + "\n")
    with figure(HERE / "pruning" / "pruning.png", 6.4, 4.0) as axes:
        for method, color in zip(METHODS, ("#666666", "#1f77b4"), strict=True):
            for number, study in enumerate(studies[method]):
                label = method if number == 0 else None
                axes.step(*curve(study), where="post", color=color, alpha=0.8, label=label)
        axes.set(xlabel="epochs trained, all trials together", ylabel="best validation accuracy so far", ylim=(0, 1))
        axes.legend()
        axes.grid()


if __name__ == "__main__":
    main()
