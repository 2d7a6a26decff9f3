from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.errors import TrackingError
from astroclf.tracking.client import connect
from astroclf.tracking.experiments import ensure_experiment, try_files


def test_files_lie_beside_the_database_wherever_one_stands(
    database_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    number = ensure_experiment(connect(database_uri), database_uri, "dark nights", None)
    place = tmp_path / "experiments" / "mlartifacts" / "dark_nights"
    assert connect(database_uri).get_experiment(number).artifact_location == str(place)


def test_trying_a_place_leaves_nothing(database_uri: str, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    for uri in (database_uri, f"sqlite:///{tmp_path / 'new' / 'mlflow.db'}"):
        try_files(uri, "galaxies", None)
        try_files(uri, "galaxies", tmp_path / "some" / "folder")
    assert sorted(tmp_path.rglob("*")) == before
    assert connect(database_uri).get_experiment_by_name("galaxies") is None


def test_a_place_that_cannot_be_written_is_named(database_uri: str, tmp_path: Path) -> None:
    (tmp_path / "a file").touch()
    with pytest.raises(TrackingError, match=r"a file/runs/galaxies for the files .*tracking\.artifact_root"):
        try_files(database_uri, "galaxies", tmp_path / "a file" / "runs")
    ensure_experiment(connect(database_uri), database_uri, "kept", tmp_path / "a file" / "runs")
    with pytest.raises(TrackingError, match="cannot be written"):
        try_files(database_uri, "kept", tmp_path / "another")  # an experiment keeps its place, whatever is typed


def test_a_store_without_its_package_is_refused_at_the_start(database_uri: str) -> None:
    with pytest.raises(TrackingError, match=r"cannot be kept in nowhere://bucket/galaxies.*tracking\.artifact_root"):
        try_files(database_uri, "galaxies", "nowhere://bucket")
