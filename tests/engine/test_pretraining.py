"""The loss of a pretraining against what mathematics says of it, and the measures of what was learned."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from astroclf.data.loader import Batch
from astroclf.engine.pretraining import SelfSupervision, effective_rank, knn_accuracy, sigreg

DIRECTIONS = torch.nn.functional.normalize(torch.randn(6, 40, generator=torch.Generator().manual_seed(1)), dim=0)


def normal(count: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))


def test_the_statistic_of_collapsed_embeddings_is_the_integral_that_they_have():
    """All at 0: the characteristic function is 1, and the integral of w (1 - w)², where w is exp(-t²/2), is known."""
    whole = math.sqrt(2 * math.pi) * (1 - 2 / math.sqrt(2) + 1 / math.sqrt(3))
    beyond_3 = math.sqrt(2 * math.pi) * math.erfc(3 / math.sqrt(2))  # where the sum ends, the integrand is nearly w
    assert sigreg(torch.zeros(50, 6), DIRECTIONS).item() / 50 == pytest.approx(whole - beyond_3, rel=0.02)


def test_a_gaussian_has_the_least_statistic_and_its_faults_are_seen():
    gaussian = sigreg(normal(500), DIRECTIONS).item()
    assert gaussian < 2
    for fault in (
        normal(500) * 0.3,
        normal(500) * 3,
        normal(500) + 1,
        normal(500)[:, :1].expand(-1, 6),
    ):
        assert sigreg(fault, DIRECTIONS).item() > 5 * gaussian


def test_following_the_gradient_makes_a_gaussian_of_what_was_none():
    embeddings = (0.1 * normal(128)).requires_grad_()
    optimizer = torch.optim.Adam([embeddings], lr=0.1)
    for _ in range(60):
        optimizer.zero_grad()
        sigreg(embeddings, DIRECTIONS).backward()
        optimizer.step()
    covariance = torch.cov(embeddings.detach().T)
    assert torch.allclose(covariance, torch.eye(6), atol=0.25)


def batch_of(images: int) -> Batch:
    return Batch(torch.zeros(0), torch.zeros(images, dtype=torch.int64), np.arange(images))


def test_views_that_agree_cost_nothing_and_others_their_variance():
    criterion = SelfSupervision(views=2, sigreg_weight=0.25, slices=16)
    view, other = normal(32), normal(32, seed=5)
    torch.manual_seed(0)
    same = criterion.sums(torch.cat([view, view]), batch_of(32))
    assert same["invariance"].item() == 0
    torch.manual_seed(0)
    apart = criterion.sums(torch.cat([view, other]), batch_of(32))
    assert apart["invariance"].item() / 32 == pytest.approx(((view - other) ** 2).mean().item() / 4, rel=1e-5)
    for sums in (same, apart):
        expected = 0.75 * sums["invariance"] + 0.25 * sums["sigreg"]
        assert sums["loss"].item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_effective_rank_counts_the_directions():
    line = torch.linspace(-1, 1, 40)[:, None] * torch.ones(1, 8)
    assert effective_rank(line) == pytest.approx(1, abs=1e-6)
    corners = torch.cat([torch.eye(8), -torch.eye(8)])
    assert effective_rank(corners) == pytest.approx(8, rel=1e-6)
    assert effective_rank(torch.ones(10, 8)) == 1
    assert math.isnan(effective_rank(torch.full((10, 8), math.nan)))


def test_neighbours_tell_classes_that_lie_apart_and_only_guess_at_others():
    centres = 5 * torch.eye(6)[:3]
    labels = torch.arange(90) % 3
    known, asked = (centres[labels] + 0.3 * normal(90, seed) for seed in (1, 2))
    assert knn_accuracy(known, labels, asked, labels) == 1
    assert knn_accuracy(normal(90, 3), labels, normal(90, 4), labels) < 0.6
