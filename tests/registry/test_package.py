from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.data.augment.recipe import Augmentation
from astroclf.errors import AstroclfError, DataError, WeightsError
from astroclf.models.classifier import Classifier, probabilities
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.package import load_package, write_package
from tests.data.augment.recipes import recipe_values

CLASSES = ["Merging", "Round Smooth", "Sb (barred)"]
AUGMENT = recipe_values(mean=[0.4, 0.5, 0.6], std=[0.2, 0.3, 0.4], dihedral=True)
SPEC: dict[str, Any] = {
    "backbone": {"_target_": "astroclf.models.tiny.Tiny"},
    "head": {"refinement": True, "attention": True, "uncertainty": True, "hidden": 16},
    "classes": CLASSES,
    "image_size": 32,
    "channels": 3,
    "activation": "softmax",
    "augment": AUGMENT,
}


@pytest.fixture(scope="module")
def model(tiny_backbone: type[nn.Module]) -> Classifier:
    torch.manual_seed(0)
    model = Classifier(tiny_backbone(), 3, refinement=True, attention=True, uncertainty=True, hidden=16)
    return model.eval()


@pytest.fixture
def package(model: Classifier, tmp_path: Path) -> Path:
    return write_package(tmp_path / "package", SPEC, model.state_dict())


def galaxies(count: int, height: int = 32, width: int = 32) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def test_predictions_are_those_of_the_model_in_training(model: Classifier, package: Path) -> None:
    images = galaxies(17)
    table = load_package(package, device="cpu", precision="fp32").predict(images)
    with torch.no_grad():
        output = model(Augmentation(**AUGMENT)(torch.from_numpy(images), None))
    expected = probabilities(output.logits_BC).numpy()
    assert list(table.columns) == ["label", "confidence", "uncertainty", *(f"p_{name}" for name in CLASSES)]
    np.testing.assert_allclose(table.iloc[:, 3:].to_numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(table["uncertainty"], output.uncertainty_B.sigmoid().numpy(), atol=1e-6)
    assert table["label"].tolist() == [CLASSES[index] for index in expected.argmax(1)]
    np.testing.assert_allclose(table["confidence"], expected.max(1), atol=1e-6)


@pytest.mark.parametrize("count", [0, 1, 3, 17])
def test_an_image_gets_the_same_answer_in_any_company(package: Path, count: int) -> None:
    predictor = load_package(package, device="cpu")
    images = galaxies(17)[:count]
    whole = predictor.predict(images, batch_size=32)
    small = predictor.predict(images, batch_size=2)
    assert len(whole) == count
    np.testing.assert_allclose(whole.iloc[:, 1:].to_numpy(float), small.iloc[:, 1:].to_numpy(float), atol=1e-5)


def test_images_of_any_size_are_fitted_as_in_training(package: Path) -> None:
    predictor = load_package(package, device="cpu")
    wide = np.zeros((1, 32, 64, 3), np.uint8)
    wide[:, :, :32], wide[:, :, 32:] = 200, 100
    fitted = np.zeros((1, 32, 32, 3), np.uint8)
    fitted[:, 8:24, :16], fitted[:, 8:24, 16:] = 200, 100
    np.testing.assert_allclose(
        predictor.predict(wide).iloc[:, 1:].to_numpy(float),
        predictor.predict(fitted).iloc[:, 1:].to_numpy(float),
        atol=1e-5,
    )


@pytest.mark.parametrize("channels", [1, 2, 5, 12])
def test_a_model_of_any_number_of_bands(channels: int, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Classifier(Custom6Conv(32, channels), 3)
    backbone = {"_target_": "astroclf.models.custom6conv.Custom6Conv"}
    augment = recipe_values(mean=None, std=None, saturation=0.2)
    spec = {**SPEC, "backbone": backbone, "head": {}, "channels": channels, "augment": augment}
    predictor = load_package(write_package(tmp_path / "package", spec, model.state_dict()), device="cpu")
    images = np.random.default_rng(0).integers(0, 256, (3, 48, 40, channels), dtype=np.uint8)
    table = predictor.predict(images)
    np.testing.assert_allclose(table.filter(like="p_").sum(axis=1), 1, atol=1e-5)
    assert not np.allclose(table.iloc[:, 3:], predictor.predict(images[..., ::-1] // 2).iloc[:, 3:], atol=1e-6)
    wrong = galaxies(2) if channels != 1 else np.zeros((2, 32, 32, 5), np.uint8)
    with pytest.raises(DataError, match="5 bands|3 bands"):
        predictor.predict(wrong)
    with pytest.raises(DataError, match=rf"\(N, height, width, {channels}\)"):
        predictor.classify(wrong)


@pytest.mark.parametrize(
    "images", [galaxies(2) / 255.0, galaxies(2)[0], galaxies(2).transpose(0, 3, 1, 2), galaxies(2)[:, :0]]
)
def test_other_arrays_are_refused_with_what_is_wanted(package: Path, images: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"uint8 from 0 to 255 in an array \(N, height, width, 3\)"):
        load_package(package, device="cpu").classify(images)


def test_eight_views_do_not_care_how_the_galaxy_is_turned(model: Classifier, tmp_path: Path) -> None:
    predictor = load_package(write_package(tmp_path / "p", SPEC | {"tta_views": 8}, model.state_dict()), device="cpu")
    images = galaxies(3)
    turned = np.ascontiguousarray(np.rot90(images, axes=(1, 2)))
    np.testing.assert_allclose(
        predictor.predict(images).iloc[:, 1:].to_numpy(float),
        predictor.predict(turned).iloc[:, 1:].to_numpy(float),
        atol=1e-5,
    )


class Poison:
    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.system, (f"touch {self.victim}",)


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_poisoned_weights_file_is_refused_and_runs_nothing(package: Path, tmp_path: Path, writer: str) -> None:
    victim = tmp_path / "poisoned"
    payload = {"scores.weight": Poison(victim)}
    (package / "weights.pt").unlink()
    if writer == "pickle":
        (package / "weights.pt").write_bytes(pickle.dumps(payload))
    else:
        torch.save(payload, package / "weights.pt")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        load_package(package)
    assert not victim.exists()


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "astroclf.models.resnet18.torch.hub.load",
        "astroclf.inference.predictor.Predictor",
        "",
    ],
)
def test_only_astroclfs_own_networks_are_built(package: Path, target: str) -> None:
    spec = json.loads((package / "model.json").read_text())
    spec["backbone"]["_target_"] = target
    (package / "model.json").write_text(json.dumps(spec))
    with pytest.raises(WeightsError, match="Only networks of the installed astroclf"):
        load_package(package)


def test_damaged_files_are_named(package: Path) -> None:
    content = (package / "weights.pt").read_bytes()
    (package / "weights.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"weights\.pt was refused: it is damaged"):
        load_package(package)
    (package / "weights.pt").unlink()
    with pytest.raises(WeightsError, match=r"weights\.pt cannot be read"):
        load_package(package)
    (package / "model.json").write_text('{"format": 4, "classes": [')
    with pytest.raises(WeightsError, match=r"model\.json is damaged \(no valid JSON"):
        load_package(package)
    (package / "model.json").write_text('{"format": 4}')
    with pytest.raises(WeightsError, match=r"model\.json is damaged \(it lacks backbone, classes, image_size"):
        load_package(package)
    with pytest.raises(WeightsError, match="no model package"):
        load_package(package.parent)


def test_a_package_of_another_format_is_refused_by_its_format(package: Path) -> None:
    old = json.loads((package / "model.json").read_text()) | {"format": 1, "views": 8}
    (package / "model.json").write_text(json.dumps(old))
    with pytest.raises(WeightsError, match=r"model\.json has format 1; this version of astroclf reads format 4"):
        load_package(package)


def test_weights_of_another_model_are_told_by_their_hash(package: Path, model: Classifier) -> None:
    torch.save({name: tensor + 1 for name, tensor in model.state_dict().items()}, package / "weights.pt")
    with pytest.raises(WeightsError, match="SHA-256 differs"):
        load_package(package)


def test_a_package_that_could_not_be_loaded_is_not_written(model: Classifier, tmp_path: Path) -> None:
    wrong = SPEC | {"head": {}}
    with pytest.raises(WeightsError, match="do not fit the network"):
        write_package(tmp_path / "package", wrong, model.state_dict())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("stem", ["small", "imagenet"])
def test_a_real_network_comes_back_whole(tmp_path: Path, stem: str) -> None:
    model = Classifier(ResNet18(image_size=32, stem=stem), 3, uncertainty=True).eval()
    spec = SPEC | {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "stem": stem, "weights": "imagenet"},
        "head": {"uncertainty": True},
    }
    found = load_package(write_package(tmp_path / "package", spec, model.state_dict()), device="cpu").model
    for name, tensor in model.state_dict().items():
        assert torch.equal(found.state_dict()[name], tensor), name


def test_a_metric_without_a_value_does_not_spoil_the_package(model: Classifier, tmp_path: Path) -> None:
    folder = write_package(tmp_path / "p", SPEC | {"metrics": {"test/ece": float("nan")}}, model.state_dict())
    assert load_package(folder).spec.metrics == {"test/ece": None}


def test_an_existing_package_is_not_overwritten(package: Path, model: Classifier) -> None:
    with pytest.raises(AstroclfError, match="exists already"):
        write_package(package, SPEC, model.state_dict())
