from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.errors import TrackingError
from astroclf.tracking.address import (
    absolute_uri,
    artifact_root,
    chosen_uri,
    hide_password,
    said_by_environment,
    warn_of_password,
)


def test_a_database_is_named_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert absolute_uri("sqlite:///mlflow.db") == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert absolute_uri(f"sqlite:///{tmp_path / 'a.db'}") == f"sqlite:///{tmp_path / 'a.db'}"
    assert absolute_uri("sqlite:///a.db?timeout=5") == f"sqlite:///{tmp_path / 'a.db'}?timeout=5"
    assert absolute_uri("http://host:5000") == "http://host:5000"


@pytest.mark.parametrize("uri", ["./mlruns", "file:///tmp/mlruns", "", "sqlite:///:memory:", "sqlite://"])
def test_what_mlflow_does_not_take_is_refused_with_the_way_out(uri: str) -> None:
    with pytest.raises(TrackingError, match=r"sqlite:///mlflow\.db"):
        absolute_uri(uri)


def test_passwords_do_not_reach_messages() -> None:
    assert hide_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert hide_password("http://host:5000") == "http://host:5000"


def test_a_typed_address_wins_over_the_environment_and_that_over_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    here = f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert chosen_uri(None) == here
    assert not said_by_environment(here)
    for nothing in ("", " "):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", nothing)
        assert chosen_uri(None) == here
        assert not said_by_environment(here)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://host:5000")
    assert chosen_uri(None) == "http://host:5000"
    assert chosen_uri("sqlite:///mlflow.db") == here
    assert said_by_environment("http://host:5000")
    assert not said_by_environment(here)


def test_an_unusable_address_is_called_by_the_name_that_holds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:///home/me/mlruns")
    with pytest.raises(TrackingError, match=r"^MLFLOW_TRACKING_URI='file:///home/me/mlruns' is no tracking database"):
        chosen_uri(None)


def test_files_go_where_the_kind_of_store_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert artifact_root("http://host:5000", None) is None
    assert artifact_root("databricks", None) is None
    assert artifact_root("sqlite:////home/me/mlflow.db", None) == "/home/me/experiments/mlartifacts"
    assert artifact_root("postgresql://host/db", "s3://bucket/runs") == "s3://bucket/runs"
    assert artifact_root("http://host:5000", "files") == str(tmp_path / "files")
    for database in ("postgresql://me:secret@host/db", "mysql+pymysql://host/db"):
        with pytest.raises(TrackingError, match=r"tracking\.artifact_root=s3") as said:
            artifact_root(database, None)
        assert "secret" not in str(said.value)


def test_a_typed_password_is_warned_of_without_being_shown(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_password("tracking.uri", "postgresql://me@host/name")
    assert caplog.text == ""
    warn_of_password("tracking.uri", "postgresql://me:secret@host/name")
    assert "tracking.uri=postgresql://me:***@host/name holds a password" in caplog.text
    assert "secret" not in caplog.text
