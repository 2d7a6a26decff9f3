from __future__ import annotations

import pytest
import torch
from torch import nn

from astroclf.models.heads import Attention, Refinement, Uncertainty


def test_sizes_are_the_forerunners() -> None:
    def size(head: nn.Module) -> int:
        return sum(parameter.numel() for parameter in head.parameters())

    assert size(Refinement(512, hidden=512)) == 2 * (
        512 * 512 + 512 + 2 * 512
    )  # Linear, and BatchNorm's scale and shift
    assert size(Attention(512)) == (512 * 256 + 256) + (256 * 512 + 512)
    assert size(Uncertainty(512)) == (512 * 256 + 256) + (256 + 1)


@pytest.mark.parametrize("width", [1, 3, 256, 512])
def test_heads_follow_the_backbones_width(width: int) -> None:
    features = torch.randn(4, width)
    assert Refinement(width, hidden=20)(features).shape == (4, 20)
    assert Attention(width)(features).shape == (4, width)
    assert Uncertainty(width)(features).shape == (4,)


def test_attention_only_weakens_features() -> None:
    features = torch.randn(8, 16) * 5
    weighted = Attention(16)(features)
    assert (weighted.abs() < features.abs()).all()
    assert torch.equal(weighted.sign(), features.sign())


def test_uncertainty_starts_undecided() -> None:
    """Near a probability of one half, where the sigmoid is not saturated and its gradient is largest."""
    chance = Uncertainty(512).eval()(torch.randn(64, 512)).sigmoid()
    assert (chance - 0.5).abs().max() < 0.25


def test_a_batch_of_one_image_is_never_normalised_by_frozen_statistics() -> None:
    """It has no variance, and the running one would pass for it in silence; a run refuses it before it begins."""
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        Refinement(8, hidden=8).train()(torch.randn(1, 8))
