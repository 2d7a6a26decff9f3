"""What of a backbone stays as it is, and for how long."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from astroclf.engine.freezing import Freezing
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.schedule import Constant
from astroclf.errors import ConfigError
from astroclf.models.classifier import Classifier
from astroclf.settings.training import FinetuneSettings
from astroclf.settings.yaml_files import yaml_values

NONE = yaml_values("finetune/none")


class TwoStages(nn.Module):
    """Two convolutions with BatchNorm."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.ReLU())

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.second(self.first(images_BCHW)).mean(dim=(2, 3))

    def stages(self) -> list[list[str]]:
        return [["first"], ["second"]]


class Training:
    """Steps of a network, as a run takes them."""

    def __init__(self, **finetune: object) -> None:
        torch.manual_seed(0)
        self.network = Classifier(TwoStages(), 3).train()
        settings = FinetuneSettings(**{**NONE, **finetune})
        groups = parameter_groups(self.network, 0.1, settings.layer_decay, settings.head_lr)
        self.optimizer = torch.optim.AdamW(groups, lr=1.0)
        self.freezing = Freezing(self.network, settings, steps_per_epoch=2)

    def step(self, number: int) -> set[str]:
        """Take a step, and name what it changed: first, second, scores."""
        before = {name: value.clone() for name, value in self.network.state_dict().items()}
        self.network.train()
        self.freezing.apply(number)
        Constant(peak_lr=0.01, total_steps=10).apply(self.optimizer, number)
        self.network(torch.randn(8, 3, 8, 8)).logits_BC.square().sum().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        after = self.network.state_dict()
        changed = {name for name, value in before.items() if not torch.equal(after[name], value)}
        return {name.removeprefix("backbone.") for name in changed}


def parts(names: set[str]) -> set[str]:
    return {name.partition(".")[0] for name in names}


def test_a_frozen_stage_keeps_its_weights_and_its_statistics():
    changed = Training(freeze=1).step(0)
    assert parts(changed) == {"second", "scores"}
    assert "second.1.running_mean" in changed


def test_the_head_is_probed_and_then_all_train():
    training = Training(freeze="all", freeze_epochs=1.5)
    assert [parts(training.step(number)) for number in range(3)] == [{"scores"}] * 3
    assert parts(training.step(3)) == {"first", "second", "scores"}
    assert parts(training.step(2)) == {"scores"}  # a function of the step alone: a resumed run needs nothing else


def test_the_statistics_of_batch_norm_can_stay_where_its_weights_train():
    changed = Training(frozen_norms=True).step(0)
    assert {"first.1.weight", "second.1.bias"} <= changed
    assert not any("running" in name or "tracked" in name for name in changed)


def test_earlier_stages_learn_more_slowly_and_the_head_faster():
    training = Training(layer_decay=0.5, head_lr=4.0)
    training.step(0)
    rates = {}
    for group in training.optimizer.param_groups:
        for parameter in group["params"]:
            rates[parameter] = group["lr"]
    named = {name: rates[parameter] for name, parameter in training.network.named_parameters()}
    assert named["backbone.first.0.weight"] == pytest.approx(0.005)
    assert named["backbone.first.1.bias"] == pytest.approx(0.005)
    assert named["backbone.second.0.weight"] == pytest.approx(0.01)
    assert named["scores.weight"] == pytest.approx(0.04)
    decays = {id(p): group["weight_decay"] for group in training.optimizer.param_groups for p in group["params"]}
    assert {decays[id(p)] for p in training.network.parameters() if p.ndim == 1} == {0.0}


def test_more_stages_than_there_are_cannot_be_frozen():
    with pytest.raises(ConfigError, match=r"finetune\.freeze=3 is more than this backbone has: 2 stages"):
        Training(freeze=3)
