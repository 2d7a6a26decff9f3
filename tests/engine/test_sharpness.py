"""Sharpness-aware steps: the gradient of Foret et al., statistics of the weights themselves, nothing left behind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.data.loader import Batch, Partners
from astroclf.engine.freezing import Freezing
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.training_step import TrainingStep
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.losses.focal import FocalLoss
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision
from astroclf.settings.training import FinetuneSettings, TrainerSettings
from astroclf.settings.yaml_files import yaml_values
from tests.settings.defaults import default

RHO = 0.3


class Small(nn.Module):
    num_features = 6

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3, stride=2), nn.BatchNorm2d(6), nn.Tanh(), nn.Dropout(dropout))

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layers(images_BCHW).mean(dim=(2, 3))


def batch(seed: int = 0, spoilt: float = 0.0) -> Batch:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(8, 3, 9, 9, generator=random)
    images[0, 0, 0, 0] += spoilt
    return Batch(images, torch.arange(8) % 3, np.arange(8))


def make_step(rho: float | None = RHO, number_format: str = "fp32", dropout: float = 0.0) -> TrainingStep:
    torch.manual_seed(0)
    model = Classifier(Small(dropout), 3).train()
    groups = [{**group, "rho": rho} for group in parameter_groups(model, 0.0)]
    optimizer = torch.optim.SGD(groups, lr=0.1, momentum=0.9, fused=True)
    settings = default(TrainerSettings, grad_clip_norm=None)
    precision = Precision(number_format, torch.device("cpu"))  # type: ignore[arg-type]
    return TrainingStep(model, Criterion(CrossEntropy([1, 1, 1])), optimizer, precision, settings)


def weights(step: TrainingStep) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in step.model.parameters()])


def buffers(step: TrainingStep) -> torch.Tensor:
    return torch.cat([b.detach().double().flatten() for b in step.model.buffers()])


def by_hand(parts: list[Batch]) -> torch.Tensor:
    """The weights after one step of the paper's algorithm 1, in autograd's own words."""
    step = make_step(rho=None)
    model, criterion = step.model, step.criterion
    parameters = list(model.parameters())

    def gradients() -> list[torch.Tensor]:
        losses = [criterion(model(part.images_BCHW), part.labels_B).total_B for part in parts]
        return list(torch.autograd.grad(torch.cat(losses).mean(), parameters))

    up = gradients()
    length = torch.sqrt(sum((g**2).sum() for g in up))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter, gradient in zip(parameters, up, strict=True):
            parameter.add_(RHO * gradient / length)
    at_top = gradients()
    with torch.no_grad():
        for parameter, gradient, way in zip(parameters, at_top, up, strict=True):
            parameter.sub_(RHO * way / length + 0.1 * gradient)
    return weights(step)


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("number_format", ["fp32", "fp16"])
def test_a_step_is_the_papers_also_over_several_batches(parts: int, number_format: str) -> None:
    group = [batch(seed) for seed in range(parts)]
    step = make_step(number_format=number_format)
    if number_format == "fp16":  # the loss is scaled as in fp16, and computed in fp32
        step.precision = Precision("fp32", torch.device("cpu"))
    before = weights(step)
    step.take(group)
    torch.testing.assert_close(weights(step), by_hand(group), rtol=1e-4, atol=1e-6)
    plain = make_step(rho=None)
    plain.take(group)
    assert (weights(step) - weights(plain)).norm() > 0.01 * (weights(step) - before).norm()


def test_statistics_of_batchnorm_and_random_numbers_are_those_of_one_pass() -> None:
    steps = [make_step(rho, dropout=0.5) for rho in (RHO, None)]
    after = []
    for step in steps:
        torch.manual_seed(1)
        taken = step.take([batch()])
        after.append((buffers(step), torch.get_rng_state(), taken.loss))
    for one, two in zip(*after, strict=True):
        assert torch.equal(one, two)
    assert all(m.track_running_stats for m in steps[0].model.modules() if isinstance(m, nn.BatchNorm2d))


@pytest.mark.parametrize("spoilt", [math.nan, math.inf])
def test_a_step_that_is_not_finite_changes_no_weight(spoilt: float) -> None:
    step = make_step()
    step.take([batch()])
    before = weights(step)
    assert not torch.isfinite(step.take([batch(1, spoilt)]).norm)
    assert torch.equal(weights(step), before)
    assert torch.isfinite(step.take([batch(2)]).norm) or not torch.isfinite(buffers(step)).all()


def test_a_gradient_that_is_not_finite_only_at_the_top_is_left_out_too(monkeypatch: pytest.MonkeyPatch) -> None:
    step = make_step()
    step.take([batch()])
    before, passes = weights(step), []
    backward = step.optimizer_step.backward

    def second_fails(loss: torch.Tensor) -> None:
        passes.append(loss)
        backward(loss * math.nan if len(passes) == 2 else loss)

    monkeypatch.setattr(step.optimizer_step, "backward", second_fails)
    assert not torch.isfinite(step.take([batch(1)]).norm)
    assert torch.equal(weights(step), before)


@pytest.mark.parametrize("loss", ["cross_entropy", "focal", "cb_focal"])
@pytest.mark.parametrize("soft", [False, True])
def test_the_loss_of_mixed_images_is_each_labels_by_its_share(loss: str, soft: bool) -> None:
    losses = {
        "cross_entropy": CrossEntropy([5, 2, 1], beta=0.9, label_smoothing=0.1),
        "focal": FocalLoss([5, 2, 1], gamma=2.0, activation="softmax"),
        "cb_focal": FocalLoss([5, 2, 1], gamma=2.0, activation="sigmoid", beta=0.99),
    }
    step = make_step(rho=None)
    step.criterion = Criterion(losses[loss])
    plain, shares = batch(), torch.linspace(0, 1, 8)
    others = plain.labels_B.roll(1)
    targets = [torch.eye(3)[labels] * 0.8 + 0.2 / 3 if soft else None for labels in (plain.labels_B, others)]
    mixed = plain._replace(targets_BC=targets[0], partners=Partners(others, targets[1], shares))
    with torch.no_grad():
        output = step.model(plain.images_BCHW)
        own = step.criterion(output, plain.labels_B, targets[0]).total_B
        other = step.criterion(output, others, targets[1]).total_B
    expected = ((1 - shares) * own + shares * other).mean()
    torch.testing.assert_close(step.take([mixed]).loss, expected)


def test_what_is_frozen_stays_as_it_is_through_both_passes_and_climbs_once_it_is_free():
    step = make_step()
    settings = FinetuneSettings(**{**yaml_values("finetune/none"), "freeze": "all", "freeze_epochs": 1.0})
    freezing = Freezing(step.model, settings, steps_per_epoch=1)
    backbone = step.model.backbone
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    scores = step.model.scores.weight.detach().clone()
    freezing.apply(0)
    step.take([batch()])
    for name, value in backbone.state_dict().items():  # weights, and the statistics of the norm
        assert torch.equal(value, before[name]), name
    assert not torch.equal(step.model.scores.weight, scores)
    freezing.apply(1)
    step.take([batch(1)])
    moved = {name for name, value in backbone.state_dict().items() if not torch.equal(value, before[name])}
    assert before.keys() - moved <= {"layers.0.bias"}  # the norm after it leaves rounding alone of its gradient
