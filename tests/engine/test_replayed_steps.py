"""Steps on a GPU, launched and replayed: the same bits, without waiting; what cannot be recorded goes on as it is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from astroclf.config.build import build
from astroclf.data.loader import Batch, Partners
from astroclf.engine.training_step import TrainingStep
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Classifier
from astroclf.models.efficientnet_lite0 import EfficientNetLite0
from astroclf.models.precision import Precision
from astroclf.models.resnet18 import ResNet18
from astroclf.models.resnet18_d4 import ResNet18D4
from astroclf.run.parts import new_optimizer
from astroclf.settings.training import LossSettings, OptimizerSettings, TrainerSettings
from astroclf.settings.yaml_files import config_dir, yaml_values
from astroclf.util.replay import EAGER_CALLS
from tests.on_gpu import gpu, waiting_is_an_error
from tests.settings.defaults import default

OPTIMIZERS = sorted(path.stem for path in (config_dir() / "optimizer").glob("*.yaml"))
LOSSES = sorted(path.stem for path in (config_dir() / "loss").glob("[!_]*.yaml"))

pytestmark = pytest.mark.usefixtures("deterministic")


class Small(nn.Module):
    num_features = 8

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2))

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layers(images_BCHW).mean(dim=(2, 3), dtype=torch.float32)


class Asking(Small):
    """Waits for the device in each forward pass."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        assert math.isfinite(float(images_BCHW.sum()))
        return super().forward(images_BCHW)


class Breaking(Small):
    """Does in each forward pass what breaks a recording off, and that torch does not tell of as a wait."""

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        if images_BCHW.is_cuda:
            torch.cuda.synchronize()
        return super().forward(images_BCHW)


def batch(seed: int, size: int = 8, *, side: int = 12, mixed: bool = False, device: str = "cuda") -> Batch:
    random = torch.Generator().manual_seed(seed)
    images = torch.randn(size, 3, side, side, generator=random).to(device, memory_format=torch.channels_last)
    labels = (torch.arange(size) % 3).to(device)
    shares = torch.rand(size, generator=random).to(device)
    return Batch(images, labels, np.arange(size), None, Partners(labels.flip(0), None, shares) if mixed else None)


def built(kind: type, section: str, name: str, **given: Any) -> Any:
    values = yaml_values(f"{section}/{name}")
    return build(kind(target=values.pop("_target_"), **values), **given)


def make_step(
    optimizer: str = "adamw",
    *,
    backbone: nn.Module | None = None,
    loss: nn.Module | None = None,
    number_format: str = "bf16",
    device: str = "cuda",
    **changes: Any,
) -> TrainingStep:
    torch.manual_seed(0)
    network = Classifier(backbone or Small(), 3, uncertainty=True, refinement=True, hidden=16).to(
        device=device, memory_format=torch.channels_last
    )
    values = yaml_values(f"optimizer/{optimizer}") | {"lr": 0.01}
    settings = OptimizerSettings(target=values.pop("_target_"), **values)
    return TrainingStep(
        network.train(),
        Criterion(loss or CrossEntropy([1, 1, 1])).to(device),
        new_optimizer(settings, network),
        Precision(number_format, torch.device(device)),
        default(TrainerSettings, ema_decay=0.9, **changes),
    )


def make_seeded(backbone: Callable[[], nn.Module], **changes: Any) -> TrainingStep:
    """A step of a network that has the same weights each time, as what is dropped in it afterwards."""
    torch.manual_seed(2)
    step = make_step(backbone=backbone(), **changes)
    torch.manual_seed(1)
    return step


def train(step: TrainingStep, groups: list[list[Batch]]) -> list[torch.Tensor]:
    """All that steps leave behind: weights, statistics, their average, the sums of each."""
    taken = []
    for number, group in enumerate(groups):
        for each in step.optimizer_step.optimizer.param_groups:
            each["lr"] = 0.01 / (1 + number)
        said = step.take(group)
        taken += [value.clone() for value in (*said.sums.values(), said.norm)]
    assert step.ema is not None
    left = [*step.model.state_dict().values(), *step.ema.model().state_dict().values()]
    return [*taken, *(each.clone() for each in left)]


def assert_equal(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    for one, two in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, two, rtol=0, atol=0, equal_nan=True)


def recordings(step: TrainingStep) -> int:
    assert step._replay is not None
    return len(step._replay)


@gpu
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "sam"])
def test_replayed_steps_give_the_bits_of_launched_ones(optimizer: str) -> None:
    """With dropout, a schedule, an average, a batch that is spoilt, and accumulated batches of two kinds."""
    groups = [[batch(seed), batch(seed + 100)] for seed in range(EAGER_CALLS + 4)]
    groups += [[batch(seed, mixed=True)] for seed in range(EAGER_CALLS + 3)]
    groups[-1][0].images_BCHW[0] = math.nan
    groups += groups[:2]
    replayed, launched = make_step(optimizer), make_step(optimizer, cuda_graph=False)
    torch.manual_seed(1)
    expected = train(launched, groups)
    torch.manual_seed(1)
    assert_equal(train(replayed, groups), expected)
    assert recordings(replayed) == 2
    assert not torch.isnan(torch.cat([p.flatten() for p in replayed.model.parameters()])).any()


@gpu
@pytest.mark.parametrize("loss", LOSSES)
def test_steps_of_every_loss_are_replayed(loss: str) -> None:
    step = make_step(loss=built(LossSettings, "loss", loss, class_counts=[3, 2, 1]))
    train(step, [[batch(seed)] for seed in range(EAGER_CALLS + 2)])
    assert recordings(step) == 1


@gpu
@pytest.mark.parametrize(
    "backbone",
    [
        lambda: ResNet18(image_size=32, stem="imagenet"),
        lambda: ResNet18(image_size=32, stem="imagenet", grad_checkpointing=True),
        lambda: ResNet18D4(image_size=32, stem="imagenet", width_mult=0.5),
        lambda: EfficientNetLite0(image_size=32),
    ],
    ids=["resnet18", "checkpointed", "resnet18_d4", "efficientnet_lite0"],
)
def test_our_networks_are_replayed_to_the_bit(backbone: Callable[[], nn.Module]) -> None:
    groups = [[batch(seed, 16, side=32)] for seed in range(EAGER_CALLS + 3)]
    both = []
    for cuda_graph in (True, False):
        step = make_seeded(backbone, cuda_graph=cuda_graph)
        both.append(train(step, groups))
        if cuda_graph:
            assert recordings(step) == 1
    assert_equal(*both)


@gpu
@pytest.mark.parametrize("optimizer", [name for name in OPTIMIZERS if name != "sam"])
def test_no_step_that_is_replayed_waits_for_the_device(optimizer: str) -> None:
    step = make_step(optimizer)
    batches = [batch(seed) for seed in range(EAGER_CALLS + 4)]
    for each in batches[: EAGER_CALLS + 1]:
        step.take([each])
    with waiting_is_an_error():
        for each in batches[EAGER_CALLS + 1 :]:
            step.take([each])
    assert recordings(step) == 1


@gpu
def test_parts_that_thaw_are_another_kind_of_step() -> None:
    def thawing(cuda_graph: bool) -> list[torch.Tensor]:
        step = make_step(cuda_graph=cuda_graph)
        torch.manual_seed(1)
        for frozen in (True, False):
            step.model.backbone.requires_grad_(not frozen)
            left = train(step, [[batch(seed)] for seed in range(EAGER_CALLS + 2)])
        return left

    assert_equal(thawing(True), thawing(False))


@gpu
@pytest.mark.parametrize("backbone", [Asking, Breaking])
def test_a_network_that_cannot_be_recorded_trains_without_being_replayed_and_others_go_on(
    backbone: Callable[[], nn.Module], caplog: pytest.LogCaptureFixture
) -> None:
    groups = [[batch(seed)] for seed in range(EAGER_CALLS + 3)]
    before, after = make_step(), make_step()
    train(before, groups)
    with caplog.at_level("WARNING", logger="astroclf"):
        step = make_seeded(backbone)
        left = train(step, groups)
    assert len([said for said in caplog.messages if "trainer.cuda_graph=false" in said]) == 1
    assert recordings(step) == 0
    assert_equal(left, train(make_seeded(backbone, cuda_graph=False), groups))
    train(before, groups)
    train(after, groups)
    assert recordings(before) == recordings(after) == 1
    assert torch.cuda.current_stream() == torch.cuda.default_stream()


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "cpu"},
        *(
            pytest.param(each, marks=gpu)
            for each in ({"cuda_graph": False}, {"optimizer": "sam"}, {"number_format": "fp16"})
        ),
    ],
    ids=str,
)
def test_steps_are_launched_where_they_cannot_be_replayed_or_are_not_to_be(changes: dict[str, Any]) -> None:
    step = make_step(**changes)
    assert step._replay is None
    train(step, [[batch(seed, device=changes.get("device", "cuda"))] for seed in range(EAGER_CALLS + 2)])
