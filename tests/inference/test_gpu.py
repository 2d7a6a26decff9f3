"""A packaged model on a GPU: it answers as on a CPU, teaches there, and knows what is new to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from astroclf.data.augment.recipe import Augmentation
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.teacher import Teacher
from astroclf.registry.package import load_package
from tests.data.augment.recipes import recipe
from tests.on_gpu import DEVICES
from tests.tiny import noise, with_profile

IMAGES = noise(9, 5, spread=60)


@pytest.fixture(scope="module")
def package(tiny_package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_profile(tiny_package, tmp_path_factory.mktemp("known") / "model")


@pytest.fixture(scope="module")
def on_cpu(package: Path) -> Predictor:
    return load_package(package, "cpu", "fp32")  # type: ignore[return-value]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("precision", "far"), [("fp32", 5e-3), ("bf16", 0.05)])
def test_it_answers_as_on_a_cpu_in_fp32(
    package: Path, on_cpu: Predictor, device: str, precision: str, far: float
) -> None:
    there = load_package(package, device, precision)
    assert isinstance(there, Predictor)
    for one, other in ((there, on_cpu), (Ensemble([there, there]), Ensemble([on_cpu, on_cpu]))):
        found, expected = one.classify(IMAGES, batch_size=4), other.classify(IMAGES, batch_size=4)
        np.testing.assert_allclose(found.probabilities, expected.probabilities, atol=far)
        np.testing.assert_allclose(found.uncertainty, expected.uncertainty, atol=far)
        assert found.novelty is not None
        assert expected.novelty is not None
        np.testing.assert_allclose(found.novelty, expected.novelty, rtol=20 * far, atol=20 * far)
    np.testing.assert_allclose(there.views(IMAGES), on_cpu.views(IMAGES), atol=far)
    np.testing.assert_allclose(there.embed(IMAGES), on_cpu.embed(IMAGES), atol=4 * far)


@pytest.mark.parametrize("device", DEVICES)
def test_it_teaches_where_its_student_learns(package: Path, on_cpu: Predictor, device: str) -> None:
    member = load_package(package, device, "fp32")
    assert isinstance(member, Predictor)
    student: Augmentation = recipe(mean=[0.3] * 3, std=[0.25] * 3)
    classes = on_cpu.classes[::-1]
    teacher = Teacher([member], classes, student)
    images_BCHW = student(torch.from_numpy(IMAGES).to(device), None)
    said_BC = teacher(images_BCHW)
    assert said_BC.device.type == device
    np.testing.assert_allclose(said_BC.cpu().numpy(), on_cpu.views(IMAGES)[0][:, ::-1], atol=5e-3)
