from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from astroclf.models.blocks import kaiming_init, run_stage


class Stages(nn.Module):
    """Two stages with what recomputing could get wrong: BatchNorm's statistics and dropout's random numbers."""

    def __init__(self, grad_checkpointing: bool) -> None:
        super().__init__()
        self.grad_checkpointing = grad_checkpointing
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5))
            for _ in range(2)
        )

    def forward(self, x: Tensor) -> Tensor:
        for stage in self.stages:
            x = run_stage([stage], x, self.grad_checkpointing)
        return x


def _step(network: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(3)
    out = network(images)
    out.square().sum().backward()
    return out


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_recomputed_stage_leaves_the_state_of_a_plain_one(precision: str) -> None:
    plain = Stages(grad_checkpointing=False).train()
    recomputed = copy.deepcopy(plain)
    recomputed.grad_checkpointing = True
    images = torch.randn(4, 3, 8, 8)
    for _ in range(3):
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bfloat16"):
            assert torch.equal(_step(plain, images), _step(recomputed, images))
    for (name, mine), theirs in zip(plain.state_dict().items(), recomputed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name
    for (name, mine), theirs in zip(plain.named_parameters(), recomputed.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, theirs.grad), name
    assert plain.stages[0][1].num_batches_tracked == recomputed.stages[0][1].num_batches_tracked == 3
    assert recomputed.stages[0][1].momentum == 0.1


def test_a_recomputed_stage_can_be_compiled() -> None:
    plain = Stages(grad_checkpointing=True).train()
    for stage in plain.stages:
        stage[3].p = 0.0  # compiled code draws other random numbers
    compiled = copy.deepcopy(plain)
    images = torch.randn(4, 3, 8, 8)
    torch.testing.assert_close(_step(plain, images), _step(torch.compile(compiled, backend="aot_eager"), images))
    for (name, mine), theirs in zip(plain.state_dict().items(), compiled.state_dict().values(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=name)


def test_kaiming_initialisation_keeps_the_size_of_activations_through_depth() -> None:
    layers = nn.Sequential(*(nn.Sequential(nn.Linear(256, 256), nn.ReLU()) for _ in range(20)))
    kaiming_init(layers)
    with torch.no_grad():
        assert 0.3 < layers(torch.randn(64, 256)).square().mean().sqrt() < 3
