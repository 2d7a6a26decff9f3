"""A packaged model answers by what was fitted on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.evaluation.answering import Answering
from astroclf.evaluation.calibration import Calibration
from astroclf.evaluation.confidence import NormConfidence
from astroclf.evaluation.conformal import Conformal
from astroclf.models.classifier import Classifier
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.package import load_package, write_package
from tests.data.augment.recipes import recipe_values
from tests.tiny import write_tiny_package

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("head", [True, False])
def test_the_answers_are_those_of_the_stored_calibration(
    head: bool, tmp_path: Path, tiny_backbone: type[nn.Module]
) -> None:
    stored = Answering(
        calibration=Calibration(temperature=[0.2, 0.3, 0.4], bias=[0.1, 0.0, -0.1]),
        confidence=NormConfidence(norm=4, slope=3.0, intercept=-2.0),
        conformal=Conformal(coverage=0.8, thresholds=[0.6, 0.7, 0.8], ranks=[1, 2, 3]),
        uncertainty_head=head,
    )
    plain = load_package(write_tiny_package(tmp_path / "plain", head={"uncertainty": head}), device="cpu")
    model = load_package(
        write_tiny_package(tmp_path / "fitted", head={"uncertainty": head}, **stored.to_plain()), device="cpu"
    )
    assert model.answering == stored, "written and read, it is the same"
    own, answers = plain.classify(IMAGES), model.classify(IMAGES, batch_size=2)
    expected = stored(own)
    np.testing.assert_allclose(answers.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(answers.confidence, expected.confidence, atol=1e-5)
    np.testing.assert_allclose(answers.uncertainty, expected.uncertainty, atol=1e-5)
    assert answers.set_names.tolist() == expected.set_names.tolist()
    assert np.abs(answers.probabilities - own.probabilities).max() > 0.05
    assert own.sets is None


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", 1e-5), ("bf16", 0.02)])
def test_answers_and_embeddings_depend_on_the_batch_size_by_rounding_alone(
    precision: str, allowed: float, tmp_path: Path
) -> None:
    """Eight views of one image go through the network together, of three images in one pass, too, of nine as well."""
    spec = {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "image_size": 32, "stem": "small"},
        "head": {"uncertainty": True},
        "classes": ["a", "b", "c"],
        "image_size": 32,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
        "tta_views": 8,
    }
    torch.manual_seed(0)
    network = Classifier(ResNet18(image_size=32, stem="small"), 3, uncertainty=True)
    package = write_package(tmp_path / "model", spec, network.state_dict())
    exact = load_package(package, device="cpu", precision="fp32").classify(IMAGES)
    predictor = load_package(package, device="cpu", precision=precision)
    assert predictor.precision.name == precision
    one = predictor.embed(IMAGES, batch_size=1)
    for batch_size in (1, 4, 9):
        said = predictor.classify(IMAGES, batch_size)
        np.testing.assert_allclose(said.probabilities, exact.probabilities, atol=allowed)
        np.testing.assert_allclose(said.uncertainty, exact.uncertainty, atol=allowed)
        embedded = predictor.embed(IMAGES, batch_size)
        np.testing.assert_allclose(embedded, one, atol=allowed * np.abs(one).max())
    assert (np.abs(said.probabilities - exact.probabilities).max() > 1e-6) == (precision == "bf16")
