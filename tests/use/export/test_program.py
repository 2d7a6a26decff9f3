"""A program, before it is written in any format, gives the answers of the predictor that it was made of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from astroclf.models.network import NetworkSpec, build_network
from astroclf.registry.package import load_package, write_package
from astroclf.settings.yaml_files import yaml_values
from astroclf.use.export.check import check_program, trials_of
from astroclf.use.export.formats import of_module
from astroclf.use.export.program import Program
from tests.backbones import EVERY_BACKBONE
from tests.data.augment.recipes import recipe_values
from tests.tiny import with_profile, write_tiny_package

HEADS = [{}, {"uncertainty": True}, {"refinement": True, "attention": True, "uncertainty": True, "hidden": 16}]


def agrees(folder: Path, preprocessing: str = "inside", count: int = 8) -> str:
    predictor = load_package(folder, device="cpu", precision="fp32")
    program = Program(predictor, preprocessing)
    said = check_program(predictor, of_module(program), preprocessing, trials_of(predictor, count, ()))
    assert said.startswith("labels equal"), "it raises where they are not, or where a number is off by more than 1e-5"
    return said


@pytest.mark.parametrize("tta_views", [1, 8])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("channels", [1, 3, 5])
@pytest.mark.parametrize("head", HEADS, ids=["plain", "uncertainty", "all heads"])
def test_every_head_number_of_channels_and_activation(
    head, channels, activation, tta_views, tmp_path, tiny_backbone, single_threaded
):
    changes: dict[str, Any] = {"channels": channels, "activation": activation, "tta_views": tta_views}
    changes["augment"] = recipe_values(mean=[0.4], std=[0.2], crop=[200, 240], output_size=24)
    agrees(write_tiny_package(tmp_path / "model", head=head, **changes))


@pytest.mark.parametrize("preprocessing", ["inside", "beside"])
@pytest.mark.parametrize("backbone", EVERY_BACKBONE)
def test_every_backbone(backbone, preprocessing, tmp_path):
    values = yaml_values(f"backbone/{backbone}") | {"weights": None}
    torch.manual_seed(0)
    network = build_network(NetworkSpec(backbone=values, num_classes=4, image_size=64))
    spec = {"backbone": values, "classes": list("abcd"), "image_size": 64, "augment": recipe_values(crop=[220, 240])}
    agrees(write_package(tmp_path / "model", spec, network.state_dict()), preprocessing, count=3)


@pytest.mark.parametrize("preprocessing", ["inside", "beside"])
@pytest.mark.parametrize("tta_views", [1, 8])
def test_the_novelty_is_that_of_the_image_as_it_is(tta_views, preprocessing, tmp_path, tiny_backbone):
    package = write_tiny_package(tmp_path / "model", tta_views=tta_views)
    assert "novelty" in agrees(with_profile(package, tmp_path / "known"), preprocessing)


def test_calibrated_probabilities_are_those_of_the_model(tmp_path, tiny_backbone):
    calibration = {"temperature": [0.5, 1.0, 2.0], "bias": [0.3, -0.3, 0.0]}
    agrees(write_tiny_package(tmp_path / "vector", calibration=calibration))
    agrees(write_tiny_package(tmp_path / "temperature", calibration={"temperature": [0.3], "bias": []}, head={}))
    confidence = {"confidence": {"norm": 4, "slope": 9.0, "intercept": -3.0}}
    agrees(write_tiny_package(tmp_path / "confidence", calibration=confidence, head={}))
