"""Whether long sweeps on PostgreSQL grow: memory, open files and threads of every process, and what the database has.

    python -m experiments.studies.soak FOLDER [--trials 200] [--asked 2000] [--processes 20]

From the root of a checkout, on Linux with PostgreSQL's server installed. First `--asked` trials are asked and told by
`--processes` processes without training; then a sweep of `--trials` short trainings runs with two workers, its record
in PostgreSQL too. Prints the table, and writes experiments/studies/reliability/soak.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import optuna
import psutil
from optuna.trial import TrialState

from astroclf.sweep.space import SearchSpace
from astroclf.sweep.study import Heartbeat, SharedStudy
from tests.postgres import LOGIN, PostgresServer, running_server

HERE = Path(__file__).parent
SPACE = SearchSpace.parse(["optimizer.lr=tag(log,interval(1e-4,1e-2))"], {}, {})
SWEEP = (
    "-m", "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu",
    "trainer.precision=fp32", "trainer.max_steps=2", "trainer.batch_size=16", "hydra.sweeper.study_name=soak",
    "optimizer.lr=tag(log,interval(1e-4,1e-2))", "hydra.sweeper.n_jobs=2",
)  # fmt: skip
WARM = 0.25  # of a process's life: what it takes by then, caches have


class Sample(NamedTuple):
    """What a process holds at one time."""

    memory_mb: float
    files: int
    threads: int

    @classmethod
    def of(cls, process: psutil.Process) -> Sample:
        with process.oneshot():
            return cls(process.memory_info().rss / 1e6, process.num_fds(), process.num_threads())


def growth(samples: list[Sample]) -> dict[str, Any]:
    """Return what a process held once it was warm and at its end, as medians of a tenth of its life, and its memory."""
    part = max(1, len(samples) // 10)
    first = int(len(samples) * WARM)
    tenths = [samples[start : start + part] for start in range(0, part * 10, part)]
    found: dict[str, Any] = {
        "memory_mb by tenths": [
            round(statistics.median(sample.memory_mb for sample in some)) for some in tenths if some
        ]
    }
    for name in Sample._fields:
        values = [getattr(sample, name) for sample in samples]
        found[f"{name} warm"] = round(statistics.median(values[first : first + part]), 1)
        found[f"{name} at the end"] = round(statistics.median(values[-part:]), 1)
    return found


def _ask(uri: str, folder: str, trials: int, results: Any) -> None:
    """Ask and tell until all trials have begun; between them, what this process holds."""
    study = SharedStudy(uri, "asked", ["maximize"], Path(folder), optuna.pruners.NopPruner())
    process, samples = psutil.Process(), []
    while claim := study.claim(trials, SPACE, {}, lambda begun: optuna.samplers.RandomSampler(seed=begun)):
        with Heartbeat(study, claim):
            for step in range(1, 4):
                with study.owned(claim) as trial:
                    trial.report(1 / step, step)
            study.tell(claim, TrialState.COMPLETE, [claim.params["optimizer.lr"]])
        claim.lock.release()
        samples.append(Sample.of(process))
    results.put(samples)


def asked(server: PostgresServer, folder: Path, trials: int, processes: int) -> dict[str, Any]:
    """Ask and tell `trials` trials from so many processes at once."""
    uri, context = server.new_database(), multiprocessing.get_context("spawn")
    SharedStudy(uri, "asked", ["maximize"], folder).storage.engine.dispose()  # no session of this process is counted
    results, started = context.SimpleQueue(), time.monotonic()
    several = [
        context.Process(target=_ask, args=(uri, str(folder / "asked"), trials, results)) for _ in range(processes)
    ]
    for process in several:
        process.start()
    histories = [results.get() for _ in several]
    for process in several:
        process.join()
    seconds = time.monotonic() - started
    grown = [growth(samples) for samples in histories if len(samples) >= 20]
    return {
        **_consistency(server, uri, "asked"),
        "processes": processes,
        "exit statuses": dict(Counter(process.exitcode for process in several)),
        "trials a second": round(trials / seconds, 1),
        "largest": {name: max(each[name] for each in grown) for name in grown[0] if "tenths" not in name},
        "grew by at most": _largest_growth(grown),
    }


def trained(server: PostgresServer, folder: Path, trials: int) -> dict[str, Any]:
    """Run a sweep of trainings of two steps, looking at its processes once a second."""
    storage, record = server.new_database(), server.new_database()
    words = [
        *SWEEP, f"hydra.sweeper.n_trials={trials}", f"hydra.sweeper.storage={storage}", f"tracking.uri={record}",
        f"tracking.artifact_root={folder / 'files'}", "tracking.system_metrics=false",
    ]  # fmt: skip
    histories: dict[int, list[Sample]] = {}
    started = time.monotonic()
    with (folder / "output.txt").open("w") as log:
        sweep = subprocess.Popen(
            [sys.executable, "-m", "astroclf", "train", *words],
            cwd=folder,
            env=dict(os.environ),
            stdout=log,
            stderr=log,
        )
        while sweep.poll() is None:
            time.sleep(1)
            if _finished(server, storage) >= trials:  # a worker tests the winner, which takes more
                continue
            try:
                coordinator = psutil.Process(sweep.pid)
                workers = [each for each in coordinator.children() if "spawn_main" in " ".join(each.cmdline())]
                for process in (coordinator, *workers):
                    histories.setdefault(process.pid, []).append(Sample.of(process))
            except psutil.Error:  # it has just ended
                continue
    grown = {
        "coordinator" if pid == sweep.pid else f"worker {number}": growth(samples)
        for number, (pid, samples) in enumerate(histories.items())
        if len(samples) >= 20
    }
    runs = Counter(status for (status,) in server.ask("SELECT status FROM runs", record.rpartition("/")[2]))
    return {
        **_consistency(server, storage, "soak"),
        "exit status": sweep.returncode,
        "minutes": round((time.monotonic() - started) / 60, 1),
        "MLflow runs": dict(runs),
        "processes": grown,
        "grew by at most": _largest_growth(list(grown.values())),
    }


def _finished(server: PostgresServer, uri: str) -> int:
    database = uri.rpartition("/")[2]
    if not server.ask("SELECT 1 FROM pg_tables WHERE tablename = 'trials'", database):
        return 0
    question = "SELECT count(*) FROM trials WHERE state IN ('COMPLETE', 'PRUNED', 'FAIL')"
    return int(server.ask(question, database)[0][0])


def _largest_growth(grown: list[dict[str, Any]]) -> dict[str, float]:
    return {
        name: round(max(each[f"{name} at the end"] - each[f"{name} warm"] for each in grown), 1)
        for name in Sample._fields
    }


def _consistency(server: PostgresServer, uri: str, study: str) -> dict[str, Any]:
    """Return what the database has of a study whose processes have ended."""
    database = uri.rpartition("/")[2]
    numbers = [number for (number,) in server.ask("SELECT number FROM trials ORDER BY number", database)]
    states = Counter(state for (state,) in server.ask("SELECT state FROM trials", database))
    sessions = f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND pid <> pg_backend_pid()"
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    return {
        "trials": len(numbers),
        "states": dict(states),
        "each number once": numbers == list(range(len(numbers))),
        "advisory locks left": server.ask(locks)[0][0],
        "sessions left": server.ask(sessions)[0][0],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--asked", type=int, default=2000)
    parser.add_argument("--processes", type=int, default=20)
    options = parser.parse_args()
    folder = options.folder.absolute()
    folder.mkdir(parents=True)
    os.environ |= {**LOGIN, "PYTHONPATH": str(HERE.parents[1]), "ASTROCLF_CACHE": str(folder / "cache")}
    kept = HERE / "reliability" / "soak.json"
    results: dict[str, Any] = json.loads(kept.read_text()) if kept.exists() else {}  # of the part that is not asked for
    with running_server() as server:
        if options.asked:
            results["asked and told"] = asked(server, folder, options.asked, options.processes)
        if options.trials:
            results["trained"] = trained(server, folder, options.trials)
    kept.parent.mkdir(exist_ok=True)
    kept.write_text(json.dumps(results, indent=1) + "\n")
    for name, found in results.items():
        print(f"{name}: {json.dumps(found, indent=1)}")


if __name__ == "__main__":
    main()
