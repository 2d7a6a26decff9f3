"""Sweeps whose study and record lie in a real PostgreSQL: what is killed, what is started again, and what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import optuna
import psutil
import pytest
from optuna.trial import TrialState

from astroclf.doctor import main as doctor
from astroclf.sweep.rehearsal import try_study
from astroclf.tracking.client import connect
from tests.processes import wait_for
from tests.tracking.test_server import serve, stop

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

SWEEP = (
    "-m", "dataset.samples=60", "dataset.image_size=16", "backbone=custom6conv", "trainer.device=cpu",
    "trainer.precision=fp32", "trainer.batch_size=16", "hydra.sweeper.study_name=night", "hydra/sweeper/pruner=none",
    "optimizer.lr=tag(log, interval(1e-4, 1e-2))", "hydra.sweeper.n_jobs=2", "tracking.system_metrics=false",
)  # fmt: skip


@pytest.fixture(autouse=True)
def login(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    from tests.postgres import LOGIN

    for name, value in LOGIN.items():
        monkeypatch.setenv(name, value)
    return LOGIN


def trials_of(storage: str) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="night", storage=storage).trials


def running(storage: str) -> bool:
    """Whether a trial is far enough to lose something: it has reported a validation."""
    try:
        return any(trial.state == TrialState.RUNNING and trial.intermediate_values for trial in trials_of(storage))
    except KeyError:  # no study yet
        return False


def statuses(uri: str) -> Counter[tuple[bool, str]]:
    """Of MLflow's runs, how many there are: is it a trial, and how it ended."""
    client = connect(uri)
    places = [experiment.experiment_id for experiment in client.search_experiments()]
    return Counter(
        ("mlflow.parentRunId" in run.data.tags, run.info.status) for run in client.search_runs(places, max_results=1000)
    )


def test_kills_and_a_crash_of_the_database_cost_a_sweep_nothing(postgres, tmp_path, clean_environment, login):
    """The study in PostgreSQL, the record behind an MLflow server that has its own tables there."""
    environment, storage = clean_environment | login, postgres.new_database()
    (tmp_path / "work").mkdir()
    files = tmp_path / "server" / "files"
    server, uri = serve(
        tmp_path / "server", environment, "--backend-store-uri", postgres.new_database(), "--artifacts-destination",
        str(files),
    )  # fmt: skip

    def begin(said: Path) -> subprocess.Popen:
        words = (*SWEEP, "trainer.epochs=10", "hydra.sweeper.n_trials=4", f"hydra.sweeper.storage={storage}")
        with said.open("w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "astroclf", "train", *words, f"tracking.uri={uri}"], cwd=tmp_path / "work",
                env=environment, stdout=log, stderr=log,
            )  # fmt: skip

    try:
        process = begin(first := tmp_path / "first.txt")
        wait_for(lambda: running(storage), process)
        workers = [child for child in psutil.Process(process.pid).children() if "spawn_main" in str(child.cmdline())]
        workers[0].kill()  # while it trains, or is about to
        time.sleep(3)
        postgres.stop("immediate")
        time.sleep(6)
        postgres.start()
        wait_for(lambda: "answers again" in first.read_text() and running(storage), process)
        said = first.read_text()  # a worker that begins at this moment says that its beginning was cut off
        process.kill()
        process.wait()
        again = begin(second := tmp_path / "second.txt")
        assert again.wait(400) == 0, second.read_text()[-3000:]
        trials = trials_of(storage)
        assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
        assert [len(trial.intermediate_values) for trial in trials] == [10] * 4
        assert statuses(uri) == {(False, "FINISHED"): 1, (True, "FINISHED"): 4}
        folders = {path.name for path in (tmp_path / "work" / "experiments" / "sweeps" / "night").iterdir()}
        assert {name for name in folders if name[0].isdigit()} == {str(number) for number in range(4)}
        (version,) = connect(uri).search_model_versions("name='galaxy10_sim'")
        assert connect(uri).list_artifacts(version.run_id)
        assert "does not answer" in said
        assert "answers again" in said
        assert "Traceback" not in said + second.read_text()
    finally:
        stop(server)
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path for path in written if login["PGPASSWORD"].encode() in path.read_bytes()] == []


def test_a_database_that_stays_away_ends_a_sweep_in_one_paragraph(postgres, tmp_path, clean_environment, login):
    environment, storage, record = clean_environment | login, postgres.new_database(), postgres.new_database()
    impatient = tmp_path / "impatient.py"
    impatient.write_text(
        "import sys\n"
        "from astroclf.__main__ import main\n"
        "from astroclf.sweep import coordinator, pool, storage\n"
        "storage.AWAY_SECONDS = coordinator.AWAY_SECONDS = pool.GRACE_SECONDS = 3.0\n"  # in its workers, too
        'if __name__ == "__main__":\n'
        "    sys.exit(main())\n"
    )
    words = [
        *SWEEP, "trainer.epochs=10", "hydra.sweeper.n_trials=3", f"hydra.sweeper.storage={storage}",
        f"tracking.uri={record}", f"tracking.artifact_root={tmp_path / 'files'}",
    ]  # fmt: skip

    def begin(*program: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, *program, "train", *words], cwd=tmp_path, env=environment, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip

    process = begin(str(impatient))
    wait_for(lambda: running(storage), process)
    postgres.stop("immediate")
    try:
        _, error = process.communicate(timeout=200)
    finally:
        postgres.start()
    assert process.returncode == 1
    assert "Error: The sweep night was stopped. Its database" in " ".join(error.split())
    assert "Traceback" not in error
    assert error.rstrip().splitlines()[-1].startswith("  astroclf train -m ")
    _, error = begin("-m", "astroclf").communicate(timeout=300)
    assert [trial.state for trial in trials_of(storage)] == [TrialState.COMPLETE] * 3, error
    assert statuses(record) == {(False, "FINISHED"): 1, (True, "FINISHED"): 3}


def rows(postgres, uri: str) -> dict[str, int]:
    name = uri.rpartition("/")[2]
    tables = postgres.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'", name)
    return {table: postgres.ask(f'SELECT count(*) FROM "{table}"', name)[0][0] for (table,) in tables}


def test_the_doctor_leaves_nothing_in_a_database(postgres, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", "no-compiler")
    monkeypatch.delenv("PGPASSWORD")
    record, storage = (uri.replace("@", ":a-secret@") for uri in (postgres.new_database(), postgres.new_database()))
    words = [f"tracking.uri={record}", f"tracking.artifact_root={tmp_path / 'a' / 'b'}", f"storage={storage}"]
    assert doctor(words) == 0
    first = {uri: rows(postgres, uri) for uri in (record, storage)}
    assert doctor(words) == 0
    assert {uri: rows(postgres, uri) for uri in (record, storage)} == first
    assert {name: count for name, count in first[record].items() if count} == {
        "alembic_version": 1, "experiments": 1, "workspaces": 1,  # which every new database of MLflow has
    }  # fmt: skip
    assert {name for name, count in first[storage].items() if count} == {"alembic_version", "version_info"}
    out, _ = capfd.readouterr()
    assert "a study, for any number of hosts" in out
    assert "a run with a metric and a file, written and read" in out
    assert "a-secret" not in out
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_holder_of_the_lock_is_waited_for_and_a_killed_one_is_not(postgres):
    uri = postgres.new_database()
    try_study(uri)
    hold = (
        "import sys, time\nfrom astroclf.sweep.storage import storage_lock\n"
        f"with storage_lock({uri!r}, 'night'):\n    print('held', flush=True)\n    time.sleep(600)\n"
    )
    take = (
        f"from astroclf.sweep.storage import storage_lock\nwith storage_lock({uri!r}, 'night'):\n    print('taken')\n"
    )
    holder = subprocess.Popen([sys.executable, "-c", hold], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.send_signal(signal.SIGSTOP)
    other = subprocess.Popen([sys.executable, "-c", take], stdout=subprocess.PIPE, text=True, env=dict(os.environ))
    with pytest.raises(subprocess.TimeoutExpired):
        other.wait(8)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    assert other.communicate(timeout=30)[0] == "taken\n"


def test_one_process_at_a_time_holds_the_lock(postgres):
    """Six processes count up under it: two at once would give a number twice."""
    uri = postgres.new_database()
    postgres.ask("CREATE TABLE counted (who int, number int)", uri.rpartition("/")[2])
    count = (
        "import sys, psycopg\nfrom astroclf.sweep.storage import storage_lock\n"
        "for _ in range(20):\n"
        f"    with storage_lock({uri!r}, 'night'), psycopg.connect({uri.replace('+psycopg', '')!r}) as own:\n"
        "        number = own.execute('SELECT coalesce(max(number), 0) FROM counted').fetchone()[0]\n"
        "        own.execute('INSERT INTO counted VALUES (%s, %s)', (int(sys.argv[1]), number + 1))\n"
    )
    several = [subprocess.Popen([sys.executable, "-c", count, str(who)], env=dict(os.environ)) for who in range(6)]
    assert [process.wait(120) for process in several] == [0] * 6
    numbers = [number for (number,) in postgres.ask("SELECT number FROM counted", uri.rpartition("/")[2])]
    assert sorted(numbers) == list(range(1, 121))
