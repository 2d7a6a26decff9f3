"""Two hosts on one study in a real PostgreSQL: no shared disk, equal names, one that stops, one that dies."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.test_postgres import SWEEP
from tests.hosts import SERVERS, Host, two_hosts
from tests.hosts import why_not as no_hosts
from tests.postgres import LOGIN, PostgresServer, running_server
from tests.postgres import why_not as no_server
from tests.processes import wait_for
from tests.tracking.test_server import stop

pytestmark = [pytest.mark.slow, pytest.mark.postgres]

LOST_SECONDS, TRIALS, EPOCHS = 12.0, 8, 15
_HURRIED = f"""
import sys
from astroclf.__main__ import main
from astroclf.sweep import claim

claim.HEARTBEAT_SECONDS, claim.LOST_SECONDS = 1.0, {LOST_SECONDS}  # in workers, too
if __name__ == "__main__":
    sys.exit(main())
"""
_HOLD_LOCK = """
import sys, time
from astroclf.sweep.storage import storage_lock
with storage_lock(sys.argv[1], "night"):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


class Laboratory(NamedTuple):
    """PostgreSQL and MLflow where both hosts reach them, and the hosts."""

    folder: Path
    postgres: PostgresServer
    studies: str
    records: str
    mlflow: str
    first: Host
    second: Host
    environment: dict[str, str]

    def join(self, host: Host, name: str) -> subprocess.Popen:
        words = [
            *SWEEP, f"trainer.epochs={EPOCHS}", f"hydra.sweeper.n_trials={TRIALS}", "hydra.sweeper.n_jobs=1",
            f"hydra.sweeper.storage={self.studies}", f"tracking.uri={self.mlflow}", "dataset.cache_dir=cache",
        ]  # fmt: skip
        disk, program = self.folder / "disk", self.folder / "hurried.py"
        disk.mkdir(exist_ok=True)
        program.write_text(_HURRIED)
        return host.start([sys.executable, str(program), "train", *words], disk, self.environment, self.said(name))

    def said(self, name: str) -> Path:
        return self.folder / f"{name}.txt"

    def ask(self, question: str, uri: str = "") -> list[tuple]:
        return self.postgres.ask(question, (uri or self.studies).rpartition("/")[2])

    def states(self) -> Counter[str]:
        return Counter(state for (state,) in self.ask("SELECT state FROM trials"))

    def reported(self, number: int) -> int:
        """Return how many validations a trial has reported."""
        question = (
            f"SELECT count(*) FROM trial_intermediate_values JOIN trials USING (trial_id) WHERE number = {number}"
        )
        return int(self.ask(question)[0][0])

    def claim(self, number: int) -> str:
        question = (
            "SELECT value_json FROM trial_user_attributes JOIN trials USING (trial_id) "
            f"WHERE number = {number} AND key = 'claim'"
        )
        return "".join(token for (token,) in self.ask(question)).strip('"')

    def on_disk_of(self, process: subprocess.Popen, number: int) -> Path:
        """Return the folder of a trial on the disk that a host's command alone sees."""
        return Path(f"/proc/{process.pid}/root{self.folder}/disk/experiments/sweeps/night/{number}")

    def trials_of(self, process: subprocess.Popen) -> list[int]:
        """Return the running trials whose claim is a host's, and which have something to lose."""
        if "trials" not in self.tables():
            return []
        running = [number for (number,) in self.ask("SELECT number FROM trials WHERE state = 'RUNNING'")]
        files = {number: self.on_disk_of(process, number) / ".claim" for number in running if self.reported(number)}
        return [number for number, file in files.items() if file.exists() and self.claim(number) in file.read_text()]

    def tables(self) -> set[str]:
        return {name for (name,) in self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


@pytest.fixture
def laboratory(tmp_path: Path, clean_environment: dict[str, str]) -> Iterator[Laboratory]:
    if reason := no_server() or no_hosts():
        pytest.skip(reason)
    environment = clean_environment | LOGIN
    with two_hosts() as (servers, first, second), running_server(SERVERS, servers) as postgres:
        uri, records = f"http://{SERVERS}:5000", postgres.new_database()
        words = [
            sys.executable, "-m", "mlflow", "server", "--host", SERVERS, "--port", "5000", "--workers", "1",
            "--backend-store-uri", records, "--artifacts-destination", str(tmp_path / "files"),
        ]  # fmt: skip
        with (tmp_path / "server.txt").open("w") as log:
            server = subprocess.Popen(
                [*servers, *words], env=environment, stdout=log, stderr=log, cwd=tmp_path, start_new_session=True
            )
        try:
            ask = f"import requests; assert requests.get('{uri}/health', timeout=2).ok"
            there = [*servers, sys.executable, "-c", ask]
            wait_for(lambda: subprocess.run(there, capture_output=True, check=False).returncode == 0)
            yield Laboratory(tmp_path, postgres, postgres.new_database(), records, uri, first, second, environment)
        finally:
            stop(server)


def test_a_host_that_stops_and_comes_back_and_one_that_dies_cost_a_study_nothing(laboratory):
    lab = laboratory
    first, second = lab.join(lab.first, "first"), lab.join(lab.second, "second")
    caught: list[int] = []
    while not caught:  # between two trials, it has none to lose
        lab.first.signal_all(signal.SIGCONT)
        wait_for(lambda: lab.trials_of(first) and lab.trials_of(second), first, second)
        assert lab.first.signal_all(signal.SIGSTOP) >= 2  # its coordinator and its worker
        caught = lab.trials_of(first)
    (number,) = caught
    before = lab.claim(number)
    wait_for(lambda: lab.claim(number) != before, second)  # after so long a silence, the other host begins it again
    lab.first.signal_all(signal.SIGCONT)
    log = lab.on_disk_of(first, number) / "train.log"
    wait_for(lambda: "taken over" in log.read_text(), first, second)
    wait_for(lambda: lab.trials_of(first) and lab.trials_of(second), first, second)
    lab.second.cut_cable()  # nobody hears that its processes end
    assert lab.second.signal_all(signal.SIGKILL) >= 2
    second.wait()
    assert first.wait(400) == 0, lab.said("first").read_text()[-3000:]
    assert lab.states() == {"COMPLETE": TRIALS}
    assert [lab.reported(number) for number in range(TRIALS)] == [EPOCHS] * TRIALS
    assert lab.ask("SELECT status, count(*) FROM runs GROUP BY status", lab.records) == [("FINISHED", TRIALS + 1)]
    assert "Traceback" not in lab.said("first").read_text()


def test_a_host_that_dies_with_the_lock_keeps_the_others_waiting_for_seconds(laboratory):
    lab = laboratory
    (lab.folder / "disk").mkdir()

    def hold(host: Host, name: str, seconds: float) -> subprocess.Popen:
        words = [sys.executable, "-c", _HOLD_LOCK, lab.studies, str(seconds)]
        return host.start(words, lab.folder / "disk", lab.environment, lab.said(name))

    first = hold(lab.first, "first", 600)
    wait_for(lambda: lab.said("first").exists() and "held" in lab.said("first").read_text())
    lab.first.cut_cable()
    lab.first.signal_all(signal.SIGKILL)
    first.wait()
    started = time.monotonic()
    assert hold(lab.second, "second", 0).wait(90) == 0
    assert time.monotonic() - started > 5  # it was held indeed
