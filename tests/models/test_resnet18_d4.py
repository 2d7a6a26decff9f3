from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.errors import ConfigError, WeightsError
from astroclf.models.classifier import Classifier
from astroclf.models.folded import for_inference
from astroclf.models.precision import Precision
from astroclf.models.resnet18 import ResNet18
from astroclf.models.resnet18_d4 import ORIENTATIONS, ResNet18D4, seen_from, turned

FP32 = Precision("fp32", torch.device("cpu"))


def views(images_BCHW: Tensor) -> list[Tensor]:
    return [turned(images_BCHW, orientation) for orientation in range(ORIENTATIONS)]


@pytest.fixture(params=[("imagenet", 64), ("small", 24)], ids=["imagenet", "small"])
def network(request: pytest.FixtureRequest) -> ResNet18D4:
    stem, image_size = request.param
    network = ResNet18D4(image_size=image_size, stem=stem, width_mult=0.25, channels=2)
    network(torch.randn(4, 2, image_size, image_size) + 1)  # statistics of its own
    network.image_size = image_size
    return network


def test_the_eight_orientations_are_those_of_the_test_time_views() -> None:
    image = torch.randn(1, 1, 4, 4)
    ours = {tuple(view.flatten().tolist()) for view in views(image)}
    theirs = {tuple(view.flatten().tolist()) for view in dihedral_views(image)}
    assert ours == theirs
    assert len(ours) == 8


def test_the_table_of_the_group_is_that_of_its_turns() -> None:
    square = torch.arange(16).view(4, 4)
    for g in range(ORIENTATIONS):
        for h, k in enumerate(seen_from(g, torch.arange(ORIENTATIONS)).tolist()):
            assert torch.equal(turned(turned(square, k), g), turned(square, h))


@pytest.mark.parametrize("training", [False, True])
def test_features_of_a_turned_image_are_those_of_the_image(network: ResNet18D4, training: bool) -> None:
    images_BCHW = torch.randn(3, 2, network.image_size, network.image_size)
    network.train(training)
    with torch.no_grad():
        first, *others = [network(view) for view in views(images_BCHW)]
    assert (first[0] - first[1]).abs().max() > 0.01
    for other in others:
        torch.testing.assert_close(other, first, rtol=1e-4, atol=1e-4)


def test_a_plain_resnet_sees_the_difference() -> None:
    """What the test above tests does not hold of any network."""
    network = ResNet18(image_size=32, stem="imagenet").eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert (network(image) - network(turned(image, 1))).abs().max() > 0.01


def test_for_answers_it_is_laid_out_as_an_ordinary_network(network: ResNet18D4) -> None:
    model = Classifier(network, 3).eval()
    images_BCHW = torch.randn(3, 2, network.image_size, network.image_size)
    with torch.inference_mode():
        fast = for_inference(model, FP32)
        torch.testing.assert_close(fast(images_BCHW).logits_BC, model(images_BCHW).logits_BC, rtol=1e-4, atol=1e-5)
    layers = [type(layer) for layer in fast.backbone.modules() if not list(layer.children())]
    assert set(layers) <= {nn.Conv2d, nn.ReLU, nn.Identity, nn.MaxPool2d, nn.AvgPool2d, nn.Sequential}


def test_it_has_an_eighth_of_the_parameters_of_a_resnet18() -> None:
    count = sum(
        parameter.numel() for parameter in ResNet18D4(image_size=64, stem="imagenet", width_mult=1.0).parameters()
    )
    assert count == pytest.approx(11_176_512 / 8, rel=0.15)


def test_what_it_cannot_be_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"multiple of 32: 100 is none.*image_size .* to 96 or 128"):
        ResNet18D4(image_size=100, stem="imagenet", width_mult=1.0)
    with pytest.raises(ConfigError, match="to 8"):
        ResNet18D4(image_size=5, stem="small", width_mult=1.0)
    with pytest.raises(ConfigError, match=r"backbone\.width_mult=0"):
        ResNet18D4(image_size=64, stem="imagenet", width_mult=0)
    with pytest.raises(ConfigError, match="imagenet or small"):
        ResNet18D4(image_size=64, stem="large", width_mult=1.0)
    with pytest.raises(WeightsError, match="no ImageNet weights"):
        ResNet18D4(image_size=64, stem="imagenet", width_mult=1.0, weights="imagenet")
