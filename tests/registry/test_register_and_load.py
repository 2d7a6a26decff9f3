from __future__ import annotations

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.errors import ConfigError, TrackingError, WeightsError
from astroclf.models.classifier import Classifier
from astroclf.registry.load import load, load_one
from astroclf.registry.package import write_package
from astroclf.registry.register import register
from astroclf.tracking.client import connect
from astroclf.tracking.mlflow import MlflowTracker
from tests.data.augment.recipes import recipe_values

SPEC: dict[str, Any] = {
    "backbone": {"_target_": "astroclf.models.tiny.Tiny"},
    "classes": ["Merging", "Round Smooth"],
    "image_size": 32,
    "augment": recipe_values(),
}
IMAGES = np.random.default_rng(0).integers(0, 256, (17, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: type[nn.Module]) -> Path:
    torch.manual_seed(0)
    model = Classifier(tiny_backbone(), 2)
    return write_package(tmp_path_factory.mktemp("run") / "model", SPEC, model.state_dict())


@pytest.fixture
def run_id(database_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")  # whatever MLflow writes without being told where, it writes here
    tracker = MlflowTracker(database_uri, "galaxies", tmp_path / "artifacts", params={"seed": 1})
    tracker.close("FINISHED")
    return tracker.run_id


def test_a_registered_model_is_found_by_all_its_names(
    database_uri: str, package: Path, run_id: str, tmp_path: Path
) -> None:
    tags = {"test/accuracy": 0.91, "test_fingerprint": "f00"}
    assert register(database_uri, package, "galaxy10", run_id, tags=tags, description="**Accuracy** 0.91") == 1
    assert register(database_uri, package, "galaxy10", run_id) == 1, "a run that registers again after a stop"

    client = connect(database_uri)
    first = client.get_model_version("galaxy10", "1")
    assert first.tags == {"test/accuracy": "0.91", "test_fingerprint": "f00"}
    assert first.description == "**Accuracy** 0.91"
    assert first.run_id == run_id
    assert first.aliases == []
    logged = [client.get_logged_model(output.model_id) for output in client.get_run(run_id).outputs.model_outputs]
    assert [model.status for model in logged] == ["READY"]
    assert first.source in {model.artifact_location for model in logged}
    (saved,) = (tmp_path / "artifacts").rglob("MLmodel")
    assert "loader_module: astroclf.registry.package\n" in saved.read_text(), "this name must not change"
    for name in ("requirements.txt", "conda.yaml"):  # anybody could claim a bare name in a public index
        named = [line.strip(" -") for line in saved.with_name(name).read_text().splitlines() if "astroclf" in line]
        assert [line.startswith("wheels/astroclf-") for line in named] == [True]
        assert (saved.parent / named[0]).is_file()

    client.set_registered_model_alias("galaxy10", "champion", 1)
    expected = load(package, device="cpu").predict(IMAGES)
    for name in ("models:/galaxy10/1", "models:/galaxy10@champion", f"runs:/{run_id}", run_id, package.parent):
        found = load(name, database_uri, device="cpu").predict(IMAGES)
        np.testing.assert_array_equal(found.iloc[:, 1:].to_numpy(float), expected.iloc[:, 1:].to_numpy(float))
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("count", [1, 3, 17])
def test_mlflow_users_load_it_without_knowing_astroclf(
    database_uri: str, package: Path, run_id: str, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    register(database_uri, package, "galaxy10", run_id)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(database_uri)
    try:
        model = mlflow.pyfunc.load_model("models:/galaxy10/1")
        table = model.predict(IMAGES[:count], params={"batch_size": 2})
    finally:
        mlflow.set_tracking_uri(before)
    expected = load(package).predict(IMAGES[:count])
    assert list(table.columns) == ["label", "confidence", "uncertainty", "p_Merging", "p_Round Smooth", "error"]
    np.testing.assert_allclose(table.iloc[:, 1:-1].to_numpy(float), expected.iloc[:, 1:].to_numpy(float), atol=1e-5)
    with pytest.raises(mlflow.MlflowException, match="uint8"):
        model.predict(IMAGES[:count] / 255.0)


def test_an_unknown_model_is_answered_with_those_that_exist(database_uri: str, package: Path, run_id: str) -> None:
    with pytest.raises(TrackingError, match=r"no models:/galaxy10@champion.*No model is registered there yet"):
        load("models:/galaxy10@champion", database_uri)
    register(database_uri, package, "galaxy10", run_id)
    connect(database_uri).set_registered_model_alias("galaxy10", "seed", 1)
    for wrong in ("models:/galaxy11@seed", "models:/galaxy10@champion", "models:/galaxy10/7", "models:/galaxy10"):
        with pytest.raises(TrackingError, match=r"models:/galaxy10/1, @seed"):
            load(wrong, database_uri)
    with pytest.raises(TrackingError, match=r"no run 0123"):
        load("runs:/0123", database_uri)


def test_a_registered_model_whose_files_are_gone_says_so_and_how_to_go_on(
    database_uri: str, package: Path, run_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import artifacts
    from mlflow.exceptions import RestException

    register(database_uri, package, "galaxy10", run_id)
    place = Path(connect(database_uri).get_model_version_download_uri("galaxy10", "1").removeprefix("file://"))
    for gone in (next(place.rglob("model.json")), place):
        gone.rename(gone.with_name("elsewhere"))
        for name in ("models:/galaxy10/1", f"runs:/{run_id}"):
            with pytest.raises(
                WeightsError, match=rf"files of {name} cannot be had any more.*astroclf promote"
            ) as told:
                load(name, database_uri)
            assert "\n" not in str(told.value)
    answer = RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "404: no such artifact"})

    def download(**_: object) -> str:
        raise answer

    monkeypatch.setattr(artifacts, "download_artifacts", download)
    monkeypatch.setattr("mlflow.utils.uri.is_local_uri", lambda uri: False)
    with pytest.raises(WeightsError, match=r"cannot be had any more from .*404: no such artifact"):
        load("models:/galaxy10/1", database_uri)
    answer = RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "try later"})
    with pytest.raises(TrackingError, match="try later"):
        load("models:/galaxy10/1", database_uri)


def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no model"):
        load(tmp_path)
    with pytest.raises(WeightsError, match=r"There is no model .*typo"):
        load(tmp_path / "typo")


def zipped(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


@pytest.mark.parametrize("around", ["", "model/", "galaxy10/model/data/model/", "../../"])
def test_a_model_is_loaded_from_a_zip_and_nothing_else_of_it_is_written(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, around: str
) -> None:
    (tmp_path / "scratch" / "deep").mkdir(parents=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch" / "deep"))
    files = {f"{around}{path.name}": path.read_bytes() for path in package.iterdir()}
    path = zipped(tmp_path / "given.zip", {**files, f"{around}../escaped.txt": b"x", f"{around}run.py": b"x"})
    np.testing.assert_array_equal(
        load(path, device="cpu").classify(IMAGES).probabilities,
        load(package, device="cpu").classify(IMAGES).probabilities,
    )
    assert [each.name for each in tmp_path.rglob("*")].count("escaped.txt") == 0
    assert list((tmp_path / "scratch" / "deep").iterdir()) == []


def test_a_zip_that_is_no_model_is_refused(package: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in package.iterdir()}
    bomb = {**files, "weights.pt": bytes(2**27)}
    cases = {
        "holds no model": zipped(tmp_path / "empty.zip", {"notes.txt": b"x"}),
        "holds 2 models: a/model.json, b/model.json": zipped(
            tmp_path / "two.zip", {f"{folder}/{name}": content for folder in "ab" for name, content in files.items()}
        ),
        "claims to hold far more": zipped(tmp_path / "bomb.zip", bomb, zipfile.ZIP_DEFLATED),
        "no zip that can be read": tmp_path / "cut.zip",
        "or it was cut off": tmp_path / "less.zip",  # the end of weights.pt, a zip itself, is taken for its own
    }
    whole = zipped(tmp_path / "whole.zip", files).read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:400])
    (tmp_path / "less.zip").write_bytes(whole[:-100])
    for reason, path in cases.items():
        with pytest.raises(WeightsError, match=reason):
            load(path, device="cpu")


def test_the_unpacked_folder_of_a_bundle_is_a_name_too(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path / "galaxy10" / "model" / "data" / "model")
    assert load(tmp_path / "galaxy10", device="cpu").classes == load(package, device="cpu").classes


def test_a_wrong_name_is_answered_with_the_nearest(package: Path, tmp_path: Path) -> None:
    shutil.copytree(package, tmp_path / "galaxy10")
    with pytest.raises(WeightsError, match=r"Did you mean .*/galaxy10\?"):
        load(tmp_path / "galaxy1O", device="cpu")
    with pytest.raises(WeightsError, match="called models:/galaxy10@champion"):
        load("galaxy10@champion", device="cpu")
    with pytest.raises(WeightsError, match="is no checkpoint of a training.*Name the folder of the package or run"):
        load(package / "weights.pt", device="cpu")


def test_a_list_of_models_is_told_that_it_cannot_do_what_one_can():
    with pytest.raises(ConfigError, match=r"model=\[a,b\] is an ensemble, which cannot explain .*one of its models"):
        load_one("[a,b]", "explain its answers")
