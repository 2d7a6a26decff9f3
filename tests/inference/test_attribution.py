"""A heat map lies where the network found what speaks for the class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from astroclf.errors import ConfigError
from astroclf.inference.attribution import attribute, gate_effect, last_maps, overlay
from astroclf.inference.predictor import Predictor
from astroclf.inference.spec import ModelSpec
from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.package import load_package
from tests.data.augment.recipes import recipe_values

SIDE = 64


class Colors(nn.Module):
    """A backbone by hand: its features are how much red, green and blue there is, seen in maps of 8 pixels a side."""

    num_features = 3

    def __init__(self) -> None:
        super().__init__()
        self.pool = nn.AvgPool2d(8)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.pool(images_BCHW).mean(dim=(2, 3))


@pytest.fixture
def predictor() -> Predictor:
    """It finds the class red, green or blue by the color of what is in an image."""
    network = Classifier(Colors(), 3, attention=True)
    with torch.no_grad():
        network.scores.weight.copy_(10 * torch.eye(3))
        network.scores.bias.zero_()
    spec = ModelSpec(
        backbone={}, head={"attention": True}, classes=["red", "green", "blue"], image_size=SIDE,
        augment=recipe_values(mean=0.0, std=1.0, reference_size=SIDE), weights_sha256="",
    )  # fmt: skip
    return Predictor(network, spec, torch.device("cpu"))


@pytest.fixture
def images() -> np.ndarray:
    """A red patch top left and a green one bottom right, then the same mirrored."""
    image = np.full((SIDE, SIDE, 3), 20, np.uint8)
    image[8:24, 8:24] = (250, 20, 20)
    image[40:56, 40:56] = (20, 250, 20)
    return np.stack([image, image[:, ::-1]])


def centre(map_HW: np.ndarray) -> tuple[float, float]:
    """The centre of the pixels that are hot."""
    rows, columns = np.nonzero(map_HW > 0.5)
    return rows.mean(), columns.mean()


def test_the_heat_lies_on_the_patch_that_decides_and_moves_with_it(predictor, images):
    found = attribute(predictor, np.concatenate([images, images]), np.array([0, 0, 1, 1]), occlusion=True)
    np.testing.assert_array_equal(found.seen_NHWC[:2], images)
    for place, expected in enumerate([(15.5, 15.5), (15.5, 47.5), (47.5, 47.5), (47.5, 15.5)]):
        assert centre(found.maps_NHW[place]) == pytest.approx(expected, abs=2)
    assert found.maps_NHW.max() == pytest.approx(1)
    assert found.maps_NHW.min() >= 0
    assert found.agreement_N is not None
    assert (found.agreement_N > 0.5).all()


def test_faint_evidence_is_not_red_where_the_object_speaks_against_the_class(predictor):
    with torch.no_grad():
        predictor.model.scores.weight[0, 1] = -10  # green speaks against red
    image = np.full((SIDE, SIDE, 3), (20, 0, 0), np.uint8)
    image[24:40, 24:40] = (0, 250, 0)
    heat = attribute(predictor, image[None], np.array([0])).maps_NHW[0]
    assert heat[28:36, 28:36].max() == 0
    assert 0 < heat.max() < 0.3


def test_a_map_is_the_same_in_any_company_and_leaves_no_gradients(predictor, images):
    many = np.concatenate([images] * 3)
    classes = np.arange(6) % 2
    whole, single = (attribute(predictor, many, classes, batch_size=size).maps_NHW for size in (6, 1))
    np.testing.assert_allclose(whole, single, atol=1e-5)
    assert all(parameter.grad is None for parameter in predictor.model.parameters())
    assert not predictor.model.backbone.pool._forward_hooks


def test_nothing_that_speaks_for_a_class_is_a_map_of_nothing(predictor, images):
    black = np.zeros_like(images)
    found = attribute(predictor, black, np.array([2, 2]), occlusion=True)
    assert (found.maps_NHW == 0).all()
    assert np.isnan(found.agreement_N).all()


def test_what_the_gate_does_is_told(predictor, images):
    red = images.copy()
    red[..., 1:] = 20
    effect = gate_effect(predictor, red)
    assert effect.mean == pytest.approx(0.5, abs=0.05)  # as it is initialised
    assert effect.shut == 0
    assert effect.changed_labels == 0
    with torch.no_grad():
        last = predictor.model.attention.gate[-1]
        last.weight.zero_()
        last.bias.copy_(torch.tensor([-9.0, 9.0, 9.0]))  # red is shut out
    effect = gate_effect(predictor, red)
    assert effect.shut == pytest.approx(1 / 3)
    assert effect.varying == pytest.approx(0, abs=1e-6)
    assert effect.changed_labels == 1
    assert effect.changed_probability > 0.1


def test_a_model_without_gate_has_no_effect_of_one(tiny_package: Path):
    predictor = load_package(tiny_package, device="cpu")
    assert gate_effect(predictor, np.zeros((1, 32, 32, 3), np.uint8)) is None


def test_a_network_without_maps_cannot_be_explained(predictor, images):
    predictor.model.backbone.pool = nn.Identity()
    predictor.model.backbone.forward = lambda images_BCHW: images_BCHW.mean(dim=(2, 3))
    with pytest.raises(ConfigError, match="Colors has no layer that gives maps"):
        attribute(predictor, images, np.zeros(2, int))


@pytest.mark.parametrize(
    ("backbone", "size", "side"), [(ResNet18, 224, 7), (ResNet18, 64, 8), (Custom6Conv, 64, 8), (Custom6Conv, 5, 5)]
)
def test_the_layer_is_the_last_whose_maps_are_fine_enough(backbone, size, side, predictor):
    options = {"stem": "imagenet"} if backbone is ResNet18 else {}
    network = Classifier(backbone(image_size=size, **options), 3).eval()
    other = Predictor(network, replace(predictor.spec, image_size=size, head={}), torch.device("cpu"))
    sides = []
    last_maps(other).register_forward_hook(lambda _layer, _in, maps: sides.append(maps.shape[2]))
    found = attribute(other, np.random.default_rng(0).integers(0, 255, (2, size, size, 3), np.uint8), np.zeros(2, int))
    assert set(sides) == {side}
    assert found.maps_NHW.shape == (2, size, size)


def test_the_overlay_is_red_where_it_is_hot():
    heat = np.zeros((8, 8), np.float32)
    heat[2, 2] = 1
    picture = overlay(np.full((8, 8, 1), 100, np.uint8), heat)
    assert picture.shape == (8, 8, 3)
    assert picture[2, 2, 0] > picture[2, 2, 2]
    assert picture[7, 7, 2] > picture[7, 7, 0]
