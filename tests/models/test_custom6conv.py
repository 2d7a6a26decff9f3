from __future__ import annotations

from pathlib import Path

import pytest
import torch

from astroclf.errors import WeightsError
from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Block, Custom6Conv
from astroclf.models.summary import model_statistics


def test_size_and_cost_are_the_forerunners() -> None:
    model = Classifier(Custom6Conv(image_size=256), num_classes=10)
    assert sum(parameter.numel() for parameter in model.parameters()) == 14_811_210
    cost = model_statistics(model, image_size=256, batch_size=32)
    assert cost.total_params == 14_811_210
    assert round(cost.total_mult_adds / 1e9, 2) == 50.54


def test_dropout_acts_in_training_only() -> None:
    network = Custom6Conv(image_size=32, dropout=0.5)
    images = torch.randn(2, 3, 32, 32)
    assert (network.train()(images) == 0).float().mean() > (network.eval()(images) == 0).float().mean() + 0.1
    assert torch.equal(network(images), network(images))


def test_a_block_computes_what_its_layers_would_one_after_another() -> None:
    torch.manual_seed(0)
    block = Block(3, 8)
    torch.nn.init.normal_(block[0].bias)
    images = torch.randn(2, 3, 9, 12)
    found, plain = block(images), block.plain()(images)
    torch.testing.assert_close(found, plain)
    weights = list(block.parameters())
    torch.testing.assert_close(*(torch.autograd.grad(each.square().sum(), weights) for each in (found, plain)))


def test_weights_of_another_image_size_are_refused(tmp_path: Path) -> None:
    torch.save(Custom6Conv(image_size=32).state_dict(), tmp_path / "small.pth")
    with pytest.raises(WeightsError, match=r"hidden\.1\.weight has shape \(512, 1024\) instead of .* image size"):
        Custom6Conv(image_size=128, weights=str(tmp_path / "small.pth"))


def test_there_are_no_imagenet_weights() -> None:
    with pytest.raises(WeightsError, match=r"no ImageNet weights for custom6conv.*backbone\.weights=null"):
        Custom6Conv(image_size=32, weights="imagenet")
