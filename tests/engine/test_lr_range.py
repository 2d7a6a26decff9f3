"""The learning-rate range test finds what trains, and leaves the network as it was."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.lr_range import LrRange, lr_range_test
from astroclf.engine.training_step import TrainingStep
from astroclf.errors import TrainingError
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Classifier
from astroclf.models.precision import choose_precision
from astroclf.settings.training import TrainerSettings
from tests.data.augment.recipes import recipe
from tests.settings.defaults import default


class Pixels(torch.nn.Module):
    """No layer at all: with the linear scores behind it, the loss is convex."""

    num_features = 48

    def forward(self, images_BCHW):
        return torch.nn.functional.adaptive_avg_pool2d(images_BCHW, 4).flatten(1)


def step_and_loader(images, forward=None) -> tuple[TrainingStep, BatchLoader]:
    pictures, labels = images
    torch.manual_seed(0)
    model = Classifier(Pixels(), 3)
    if forward is not None:
        model.backbone.forward = forward
    settings = default(TrainerSettings, grad_clip_norm=None)
    precision = choose_precision("fp32", torch.device("cpu"))
    step = TrainingStep(
        model, Criterion(CrossEntropy([14, 14, 14])), torch.optim.SGD(model.parameters(), lr=1.0), precision, settings
    )
    pixels = PixelBuffer(pictures, "memory")
    loader = BatchLoader(
        pixels, labels, np.arange(42), batch_size=16, augmentation=recipe(mean=[0.4] * 3), seed=3, train=True,
        num_workers=0,
    )  # fmt: skip
    return step, loader


def loss_after(images, lr: float, steps: int = 20) -> float:
    step, loader = step_and_loader(images)
    for group in step.optimizer_step.optimizer.param_groups:
        group["lr"] = lr
    losses = [float(step.take([batch]).loss) for epoch in range(steps // 2) for batch in loader.epoch(epoch)]
    return float(np.mean(losses[-4:]))


@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_on_a_convex_loss_the_suggestion_trains_and_a_thousandth_of_it_does_not(images):
    step, loader = step_and_loader(images)
    before = {name: value.clone() for name, value in step.model.state_dict().items()}
    measured = lr_range_test(step, loader, lowest_lr=1e-5, highest_lr=1e3, steps=60)
    assert measured.falls
    assert measured.lrs[0] < measured.tenth < measured.lrs[-1]
    good = loss_after(images, measured.tenth)
    assert good < 0.7 * loss_after(images, measured.tenth / 1000)
    assert good < 0.7 * measured.losses[0]
    assert loss_after(images, measured.steepest) < 0.7 * loss_after(images, measured.tenth / 1000)
    for name, value in step.model.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_it_repeats_to_the_bit_goes_through_few_batches_again_and_ends_where_the_loss_explodes(images):
    first, second = (
        lr_range_test(*step_and_loader(images), lowest_lr=1e-3, highest_lr=1e6, steps=60, batches_per_step=2)
        for _ in range(2)
    )
    assert np.array_equal(first.losses, second.losses)
    assert 2 * len(first.losses) > 2 * 2  # of the batches that an epoch has
    assert len(first.losses) < 60


@pytest.mark.usefixtures("seeded_and_single_threaded")
def test_a_loss_that_is_no_number_at_the_first_step_is_said(images):
    step, loader = step_and_loader(images, forward=lambda x: torch.full((len(x), 48), torch.nan))
    with pytest.raises(TrainingError, match=r"loss of the first step is nan.*astroclf check"):
        lr_range_test(step, loader, lowest_lr=1e-5, highest_lr=1, steps=10)


def test_a_loss_that_only_rises_or_stays_gives_no_suggestion():
    lrs = np.geomspace(1e-6, 1, 50)
    assert not LrRange(lrs, np.linspace(2, 3, 50)).falls
    assert not LrRange(lrs, np.full(50, 2.3)).falls
    assert not LrRange(lrs[:1], np.array([2.3])).falls


def test_the_steepest_descent_is_where_the_loss_falls_fastest():
    decades = np.linspace(-6, 0, 121)
    losses = 2 - np.tanh(2 * (decades + 3)) + np.exp(6 * (decades + 0.5))
    measured = LrRange(10.0**decades, losses)
    assert np.log10(measured.steepest) == pytest.approx(-3, abs=0.15)
    assert measured.tenth == pytest.approx(measured.lrs[losses.argmin()] / 10, rel=0.3)
