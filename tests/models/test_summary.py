from __future__ import annotations

import time
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from astroclf.models.classifier import Classifier
from astroclf.models.resnet18 import ResNet18
from astroclf.models.resnet18_d4 import ResNet18D4
from astroclf.models.summary import model_statistics, model_summary


def test_layers_shapes_parameters_and_cost_are_in_the_table(new_backbone: Callable[..., nn.Module]) -> None:
    model = Classifier(new_backbone(image_size=64), 7, uncertainty=True)
    table = model_summary(model, image_size=64, batch_size=2)
    size = sum(parameter.numel() for parameter in model.parameters())
    for expected in (
        type(model.backbone).__name__,
        "Conv",
        "[2, 7]",
        "Mult-Adds",
        "mult-adds (",
        f"Total params: {size:,}",
    ):
        assert expected in table
    assert "Units" not in table


def test_looking_leaves_no_trace(new_backbone: Callable[..., nn.Module]) -> None:
    model = Classifier(new_backbone(image_size=32), 3, refinement=True).train()
    model.backbone.eval()  # a frozen part must stay frozen
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    random_state = torch.get_rng_state()
    model_summary(model, image_size=32)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_large_images_cost_nothing_to_look_at() -> None:
    model = Classifier(ResNet18(image_size=1280, stem="imagenet"), 8)
    start = time.monotonic()
    statistics = model_statistics(model, image_size=1280, batch_size=64)
    assert statistics.total_mult_adds > 1e12
    assert time.monotonic() - start < 5  # in truth this pass takes minutes and 50 GB


def test_a_compiled_model_shows_its_layers() -> None:
    model = Classifier(ResNet18(image_size=32, stem="imagenet"), 3)
    assert model_summary(torch.compile(model), image_size=32) == model_summary(model, image_size=32)


def test_of_group_convolutions_the_work_of_all_orientations_is_counted() -> None:
    model = ResNet18D4(image_size=32, stem="imagenet", width_mult=0.25)
    statistics = model_statistics(model, image_size=32)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(torch.randn(1, 3, 32, 32))
    assert statistics.total_mult_adds == pytest.approx(counter.get_total_flops() / 2, rel=0.02)
    assert str(statistics).count(f"{statistics.summary_list[1].macs:,}") >= 1
