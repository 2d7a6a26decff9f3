"""The two folders for others: a model for the Hugging Face hub, and all that a colleague needs."""

from __future__ import annotations

import json
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from astroclf.data.decode.tone import Tone
from astroclf.errors import WeightsError
from astroclf.evaluation.answering import Answering
from astroclf.export import main
from astroclf.inference.seen import SeenImages
from astroclf.inference.spec import read_spec
from astroclf.registry.load import load
from astroclf.registry.package import write_ensemble
from astroclf.use.export.bundle import example_image
from tests.tiny import write_tiny_package

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 40, 30, 3), dtype=np.uint8)
METRICS = {
    "test/accuracy": 0.535, "test/accuracy_low": 0.463, "test/accuracy_high": 0.606, "test/macro_f1": 0.521,
    "test/images": 200, "test/ece": 0.092, "test/chance_accuracy": 0.1, "test/Merging/accuracy": 0.15,
}  # fmt: skip
FACTS = {"test_fingerprint": "c60b2d838e1d01e8", "run_folder": "/home/someone/runs/1", "mlflow_run": "5083",
         "initial_weights": "/home/someone/weights.pth"}  # fmt: skip
SEEN = SeenImages(np.array([3, 5], np.uint64), np.array([8], np.uint64))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: type) -> Path:
    return write_tiny_package(tmp_path_factory.mktemp("trained") / "model", SEEN, metrics=METRICS, facts=FACTS)


@pytest.fixture(scope="module")
def hub(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("hub") / "galaxy10"
    assert main([str(package), str(output), "format=huggingface", "license=cc-by-4.0"]) == 0
    return output


@pytest.fixture(scope="module")
def bundle(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("bundle") / "galaxy10.zip"
    assert main([str(package), str(output)]) == 0
    assert [path.name for path in output.parent.iterdir()] == ["galaxy10.zip"]
    return output


def same(model: Path, package: Path) -> bool:
    return load(model, device="cpu").predict(IMAGES).equals(load(package, device="cpu").predict(IMAGES))


def test_the_hub_folder_is_the_model(hub: Path, package: Path) -> None:
    names = sorted(path.name for path in hub.iterdir())
    assert [name for name in names if not name.endswith(".whl")] == [
        "README.md", "config.json", "model.json", "model.safetensors",
    ]  # fmt: skip
    assert same(hub, package)
    assert json.loads((hub / "config.json").read_text())["id2label"] == {
        "0": "Merging", "1": "Round Smooth", "2": "Sb (barred)",
    }  # fmt: skip


def test_the_model_card_says_what_the_test_said(hub: Path) -> None:
    _, head, text = (hub / "README.md").read_text().split("---\n", 2)
    said = yaml.safe_load(head)
    assert (said["license"], said["library_name"]) == ("cc-by-4.0", "astroclf")
    (result,) = said["model-index"][0]["results"]
    assert {metric["type"]: metric["value"] for metric in result["metrics"]} == {"accuracy": 0.535, "f1": 0.521}
    assert "c60b2d838e1d01e8" in result["dataset"]["name"]
    assert "| accuracy | 0.535 | 0.463 to 0.606 |" in text
    assert "| Merging | 0.150 |" in text
    assert "On 200 test images" in text


def test_nothing_of_this_machine_goes_to_the_hub(hub: Path) -> None:
    for path in hub.glob("*.[jm][sd]*"):
        assert "/home/someone" not in path.read_text(errors="replace")
    assert "initial weights: `weights.pth`" in (hub / "README.md").read_text()
    assert load(hub, device="cpu").seen is None


@pytest.fixture(scope="module")
def together(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of an ensemble."""
    folder = tmp_path_factory.mktemp("together")
    members = [load(package, device="cpu"), load(package, device="cpu")]
    facts = {"members": ["/home/someone/runs/1", "models:/galaxy10/3"], "run_folder": "/home/someone/together"}
    model = write_ensemble(folder / "model", members, Answering(), facts=facts)
    assert main([str(model), str(folder / "galaxy10.zip"), "check_images=2"]) == 0
    assert load(folder / "galaxy10.zip", device="cpu").names == ("1", "models:/galaxy10/3")
    return folder / "galaxy10.zip"


@pytest.mark.parametrize("kind", ["bundle", "together"], ids=["one model", "an ensemble"])
def test_a_colleague_gets_the_digests_of_what_was_seen_and_nothing_of_this_machine(
    kind: str, request: pytest.FixtureRequest
) -> None:
    path = request.getfixturevalue(kind)
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            assert name.endswith(".whl") or b"/home/someone" not in archive.read(name), name
    for member in load(path, device="cpu").members:
        assert member.seen is not None
        assert (member.seen.train.tolist(), member.seen.val.tolist()) == ([3, 5], [8])
        assert "mlflow_run" not in member.spec.facts
        assert member.spec.facts["test_fingerprint"] == "c60b2d838e1d01e8"


def test_the_lines_that_say_how_it_is_used_name_a_file_that_the_model_takes(
    hub: Path, bundle: Path, package: Path
) -> None:
    with zipfile.ZipFile(bundle) as archive:
        assert "predict(['image.jpg'])" in archive.read("galaxy10/README.txt").decode()
    assert 'predict(["image.jpg"])' in (hub / "README.md").read_text()
    spec = read_spec(package)
    tones = {"FITS": Tone("zscale", "asinh").to_plain()}
    assert example_image(replace(spec, tones=tones)) == "image.fits"
    assert example_image(replace(spec, tones={"uint16": tones["FITS"]})) == "image.tif"


def test_a_damaged_safetensors_file_is_told(hub: Path, tmp_path: Path) -> None:
    for name in ("model.json", "model.safetensors"):
        content = (hub / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2] if name.endswith("tensors") else content)
    with pytest.raises(WeightsError, match=r"model.safetensors is damaged"):
        load(tmp_path, device="cpu")


def test_the_bundle_holds_model_wheel_requirements_and_five_lines(bundle: Path, package: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "galaxy10"
    assert sorted(path.name for path in folder.iterdir()) == ["README.txt", "model", "requirements.txt"]
    assert same(folder / "model", package)
    wheel, *others = (folder / "requirements.txt").read_text().splitlines()
    assert (folder / wheel).is_file()
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in others)
    assert len((folder / "README.txt").read_text().splitlines()) == 5


def test_mlflow_loads_the_model_of_a_bundle(bundle: Path, package: Path, tmp_path: Path) -> None:
    import mlflow

    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path)
    found = mlflow.pyfunc.load_model(str(tmp_path / "galaxy10" / "model")).predict(IMAGES)
    assert found.pop("error").isna().all()
    assert found.equals(load(package, device="cpu").predict(IMAGES))
