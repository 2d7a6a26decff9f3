"""``astroclf doctor``: what works, what does not and what to do, and that nothing is left of the attempts."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from astroclf.doctor import main
from astroclf.errors import DiskError
from astroclf.run import probes
from astroclf.sweep.rehearsal import try_study
from astroclf.tracking.trial_run import try_files_of, try_run


def told(out: str) -> dict[str, str]:
    """What came of each thing: ``works``, ``does not work`` or ``not needed``."""
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    return {line[:9].strip(): line[10:24].strip() for line in lines}


def rows(database: Path) -> dict[str, int]:
    with closing(sqlite3.connect(database)) as opened:
        tables = [name for (name,) in opened.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: opened.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in tables}


@pytest.fixture
def silent() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.slow
def test_what_works_is_said_in_a_line_each_and_leaves_nothing(tmp_path, monkeypatch, capfd, own_cache):
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setenv("CXX", "no-compiler")  # nothing here asks for one
    assert main(["dataset.image_size=32", f"dataset.cache_dir={tmp_path / 'work' / 'cache'}"]) == 0
    out, err = capfd.readouterr()
    works = dict.fromkeys(("database", "files", "registry", "study", "folder", "cache", "device", "weights"), "works")
    assert told(out) == {**works, "compiler": "not needed"}
    assert err == ""
    assert list((tmp_path / "work").iterdir()) == []


@pytest.mark.slow
def test_what_does_not_work_is_said_within_seconds_with_its_remedy(tmp_path, monkeypatch, capfd, silent):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CXX", "no-compiler")
    (tmp_path / "a file").touch()
    words = [
        f"tracking.uri=http://{silent}", f"storage=postgresql+psycopg://me:secret@{silent}/studies", "seconds=4",
        "trainer.device=cuda", "trainer.compile=true", f"folder={tmp_path / 'a file' / 'runs'}",
        f"backbone.weights={tmp_path / 'none.pt'}",
    ]  # fmt: skip
    assert main(words) == 1
    out, _ = capfd.readouterr()
    wrong = ("database", "files", "registry", "study", "folder", "device", "weights", "compiler")
    assert told(out) == {**dict.fromkeys(wrong, "does not work"), "cache": "works"}
    text = " ".join(out.split())
    assert text.count("It gave no answer within 4 s. Look whether the server runs and a firewall") >= 2
    assert "secret" not in out
    assert "me:***@127.0.0.1" in out
    assert "Set trainer.device=cpu" in text
    assert "none.pt" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file"]


def test_a_run_that_is_tried_in_a_database_is_gone_from_it(made_database, tmp_path):
    shutil.copy(made_database, tmp_path / "mlflow.db")
    before, uri = rows(tmp_path / "mlflow.db"), f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert "written and read" in try_run(uri, None)
    assert try_files_of(uri, "galaxies", None) == "of a new experiment"
    after = rows(tmp_path / "mlflow.db")
    assert {name: count for name, count in after.items() if count != before[name]} == {}
    assert {path.name for path in tmp_path.iterdir()} <= {"mlflow.db", "mlflow.db.lock"}


def test_a_study_that_is_tried_in_a_database_is_gone_from_it(tmp_path):
    from tests.sweep.test_study import opened

    opened(tmp_path)
    before = {path.name for path in tmp_path.iterdir()}
    counted = rows(tmp_path / "optuna.db")
    assert try_study(f"sqlite:///{tmp_path}/optuna.db") == "a study, for processes of this host"
    assert rows(tmp_path / "optuna.db") == counted
    try_study(f"sqlite:///{tmp_path}/new/folder/optuna.db")
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_folder_in_which_two_processes_get_one_lock_is_refused(tmp_path, monkeypatch):
    assert probes.try_work_folder(tmp_path / "runs").startswith("files and their locks")
    monkeypatch.setattr(probes, "_TAKE_LOCK", "")  # as where locks are those of one host
    with pytest.raises(DiskError, match="Two processes at once"):
        probes.try_work_folder(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "LEAST_ROOM", 1 << 62)
    for attempt in (probes.try_work_folder, probes.try_cache):
        with pytest.raises(DiskError, match="of room left"):
            attempt(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_to_be_resumed_is_refused(capsys):
    assert main(["resume=somewhere"]) == 1
    assert "type here what the run was begun with" in capsys.readouterr().err
