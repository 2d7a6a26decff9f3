"""A sweep whose workers are actors of a Ray cluster of two nodes: a node that dies, and a sweep that is stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest
from optuna.trial import TrialState

from tests.clusters.test_slurm import finish, history_of, resumed_steps
from tests.end_to_end.conftest import SMALL
from tests.end_to_end.test_sweep import runs_of, trials_of
from tests.processes import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.ray, pytest.mark.filterwarnings("ignore")]  # Ray's own, of its sockets
ray = pytest.importorskip("ray", reason="needs Ray: pip install 'astroclf[ray]'")


@pytest.fixture
def cluster() -> Iterator["ray.cluster_utils.Cluster"]:
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def start(cluster, tmp_path, clean_environment) -> Callable[..., subprocess.Popen]:
    sweep = (
        "-m", *SMALL, "hydra.sweeper.study_name=night", "hydra/sweeper/pruner=none", "hydra.sweeper.n_jobs=2",
        "trainer.patience=null", "hydra.sweeper.workers=ray", f"hydra.sweeper.ray.address={cluster.address}",
        "hydra.sweeper.ray.gpus=0", "hydra.sweeper.ray.cpus=1",
    )  # fmt: skip

    def start_train(*overrides: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "astroclf.train", *sweep, *overrides]
        return subprocess.Popen(
            command, cwd=tmp_path, env=clean_environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    return start_train


def test_a_trial_on_a_node_that_dies_goes_on_elsewhere(cluster, start, tmp_path):
    process = start("seed=0,1,2", "trainer.epochs=30")
    wait_for(lambda: history_of(tmp_path, 0) and history_of(tmp_path, 1), process)  # a core each: on both nodes
    assert {trial.state for trial in trials_of(tmp_path)[:2]} == {TrialState.RUNNING}
    (other,) = cluster.worker_nodes
    cluster.remove_node(other, allow_graceful=False)
    out = finish(process)
    assert "ended unexpectedly" in out
    trials = trials_of(tmp_path)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
    assert sum(trial.user_attrs.get("deaths", 0) for trial in trials) == 1
    (dead,) = (trial.number for trial in trials if "deaths" in trial.user_attrs)
    assert [step > 0 for step in resumed_steps(tmp_path, dead)] == [True]
    for number in range(3):
        assert [float(row["epoch"]) for row in history_of(tmp_path, number)] == [float(n) for n in range(1, 31)]
    _, children = runs_of(tmp_path)
    assert sorted(run.data.tags["sweep.trial"] for run in children) == ["0", "1", "2"]
    assert len(list((tmp_path / "experiments" / "sweeps" / "night").rglob("predictions.csv"))) == 1


def test_ctrl_c_saves_what_actors_train(start, tmp_path):
    process = start("seed=0,1", "trainer.epochs=100000")
    wait_for(lambda: history_of(tmp_path, 0) and history_of(tmp_path, 1), process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, out + err
    before = [len(history_of(tmp_path, number)) for number in (0, 1)]
    time.sleep(3)
    assert [len(history_of(tmp_path, number)) for number in (0, 1)] == before  # nothing trains on
    for trial in trials_of(tmp_path):
        assert trial.state == TrialState.RUNNING
        assert trial.user_attrs["left"] == trial.user_attrs["claim"]
