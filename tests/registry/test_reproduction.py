from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.evaluation.calibration import Calibration
from astroclf.evaluation.forward import predict_proba
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.predictor import Predictor
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision
from astroclf.registry.conditions import Condition
from astroclf.registry.package import load_package, write_package
from astroclf.registry.reproduction import picked, reproduces
from tests.data.augment.recipes import recipe_values

CLASSES = ("Merging", "Round Smooth", "Edge-on")
SPEC = {
    "backbone": {"_target_": "astroclf.models.tiny.Tiny"},
    "head": {"uncertainty": True},
    "classes": list(CLASSES),
    "augment": recipe_values(),
}
COLORS = np.random.default_rng(0).integers(0, 200, (17, 1, 1, 3))
IMAGES = (COLORS + np.random.default_rng(1).integers(0, 56, (17, 32, 32, 3))).astype(np.uint8)

Package = Callable[..., Path]


@pytest.fixture(scope="module")
def package(tiny_backbone: type[nn.Module], tmp_path_factory: pytest.TempPathFactory) -> Package:
    def write(seed: int = 0, **changes: object) -> Path:
        torch.manual_seed(seed)
        model = Classifier(tiny_backbone(), 3, uncertainty=True)
        with torch.no_grad():
            model.scores.weight.normal_(std=10)  # classes that images differ in, as after a training
        folder = tmp_path_factory.mktemp("package") / "model"
        return write_package(folder, SPEC | {"image_size": 32} | changes, model.state_dict())

    return write


def said_in_the_test(folder: Path, precision: str) -> np.ndarray:
    """What a test in this number format says: probabilities and uncertainty."""
    predictor = load_package(folder, device="cpu")
    images_BCHW = predictor.augmentation(torch.from_numpy(IMAGES), None)
    said = predict_proba(predictor.model, images_BCHW, "softmax", precision=Precision(precision, torch.device("cpu")))
    return np.column_stack([said.probabilities_BC, said.uncertainty_B])


def check(folder: Path, expected: np.ndarray, precision: str = "fp32") -> Condition:
    return reproduces(str(folder), "", IMAGES, expected, CLASSES, Precision(precision, torch.device("cpu")))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sound_package_repeats_its_test(package: Package, precision: str) -> None:
    expected = said_in_the_test(package(), precision)
    assert expected[:, :3].std(axis=0).max() > 0.05, "the images must differ, or the test shows nothing"
    found = check(package(), expected, precision)
    assert found.passed, found.said
    assert "17 test images at batch sizes 1, 3 and 17" in found.said


def test_what_is_compared_are_the_calibrated_answers(package: Package) -> None:
    """A test that was calibrated, and a package that is not, are told apart; with the calibration they agree."""
    calibration = Calibration(temperature=[0.5])
    expected = said_in_the_test(package(), "fp32")
    expected[:, :3] = calibration(expected[:, :3])
    assert check(package(calibration=asdict(calibration)), expected).passed
    assert check(package(), expected).passed is False


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_another_model_does_not(package: Package, precision: str) -> None:
    expected = said_in_the_test(package(), precision)
    for other in (
        package(1),
        package(activation="sigmoid"),
        package(augment=recipe_values(mean=[0.4] * 3, std=[0.1] * 3)),
    ):
        found = check(other, expected, precision)
        assert found.passed is False
        assert "does not repeat the probabilities of its test" in found.said


def test_a_model_that_depends_on_the_batch_size_is_found(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = said_in_the_test(package(), "fp32")
    original = Predictor.classify

    def leaky(self: Predictor, images: np.ndarray, batch_size: int) -> Predictions:
        said = original(self, images, batch_size)
        return replace(said, probabilities=said.probabilities[::-1]) if batch_size == 3 else said

    monkeypatch.setattr(Predictor, "classify", leaky)
    assert "depend on the batch size" in check(package(), expected).said


def test_predictions_that_are_not_finite_are_never_repeated(package: Package) -> None:
    assert check(package(), np.full((17, 4), np.nan)).passed is False


def test_what_cannot_be_loaded_is_said(package: Package) -> None:
    folder = package()
    expected = said_in_the_test(folder, "fp32")
    assert "other classes" in check(package(classes=["a", "b", "c"]), expected).said
    (folder / "weights.pt").write_bytes(b"damaged")
    found = check(folder, expected)
    assert found.passed is False
    assert "does not load from the registry" in found.said


def test_images_from_the_whole_list_are_looked_at() -> None:
    assert picked(17).tolist() == list(range(17))
    assert picked(1000).tolist()[::8] == [0, 500, 999]
    assert picked(2).tolist()[:1] == [0]
    assert len(picked(2)) == len(picked(1)) == 17
    assert max(picked(1)) == 0
