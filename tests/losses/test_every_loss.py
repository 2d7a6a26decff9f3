"""What every classification loss promises. A new loss is tested by adding it to LOSSES."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.losses.focal import FocalLoss
from astroclf.models.classifier import probabilities

GAMMAS = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
COUNTS = (50, 20, 7)
LOSSES: dict[str, Callable[[], nn.Module]] = {
    "cross entropy": lambda: CrossEntropy(COUNTS),
    "smoothed, balanced cross entropy": lambda: CrossEntropy(COUNTS, beta=0.99, label_smoothing=0.1),
    **{
        f"{activation} focal, gamma {gamma:g}": (
            lambda activation=activation, gamma=gamma: FocalLoss(COUNTS, gamma, beta=0.9, activation=activation)
        )
        for activation in ("softmax", "sigmoid")
        for gamma in GAMMAS
    },
}
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
EXTREMES = (1e4, -1e4, 0.0, 20.0, -90.0, 1e-4)


@pytest.fixture(params=list(LOSSES))
def loss(request: pytest.FixtureRequest) -> nn.Module:
    return LOSSES[request.param]()


def value_and_gradient(
    loss: nn.Module, logits: Tensor, labels: Tensor, targets: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    logits = logits.clone().requires_grad_()
    losses = loss(logits, labels, targets)
    losses.sum().backward()
    assert logits.grad is not None
    return losses.detach(), logits.grad


def test_one_float32_loss_per_sample(loss: nn.Module) -> None:
    losses = loss(torch.randn(5, 3), torch.tensor([0, 1, 2, 0, 1]))
    assert losses.shape == (5,)
    assert losses.dtype == torch.float32
    assert (losses > 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradient_are_finite_at_extreme_logits(loss: nn.Module, dtype: torch.dtype) -> None:
    grid = torch.cartesian_prod(*[torch.tensor(EXTREMES)] * 3).to(dtype)
    for label in range(3):
        losses, gradient = value_and_gradient(loss, grid, torch.full((len(grid),), label))
        assert losses.dtype == torch.float32
        assert torch.isfinite(losses).all()
        assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("dtype", DTYPES)
@settings(max_examples=20, deadline=None)
@given(
    logits=st.lists(st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3), min_size=1, max_size=8),
    label=st.integers(0, 2),
    gamma=st.floats(0.0, 5.0),
    activation=st.sampled_from(["softmax", "sigmoid"]),
)
def test_focal_value_and_gradient_are_finite_for_any_gamma_and_logits(
    dtype: torch.dtype, logits: list[tuple[float, ...]], label: int, gamma: float, activation: str
) -> None:
    labels = torch.full((len(logits),), label)
    focal = FocalLoss(COUNTS, gamma, beta=0.999, activation=activation)
    losses, gradient = value_and_gradient(focal, torch.tensor(logits).to(dtype), labels)
    assert torch.isfinite(losses).all()
    assert (losses >= 0).all()
    assert torch.isfinite(gradient).all()


def test_half_precision_logits_give_the_loss_of_their_float32_values(loss: nn.Module) -> None:
    logits, labels = torch.randn(6, 3).bfloat16(), torch.tensor([0, 1, 2, 2, 1, 0])
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(loss(logits, labels), loss(logits.float(), labels))


def test_a_sample_counts_the_same_in_any_batch(loss: nn.Module) -> None:
    """So that accumulation over small batches adds up to one large batch."""
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    together = loss(logits, labels)
    alone = torch.cat([loss(logits[row : row + 1], labels[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(together, alone)


def test_descending_it_leads_to_the_truth(loss: nn.Module) -> None:
    logits, labels = torch.zeros(3, 3), torch.arange(3)
    for _ in range(40):
        _, gradient = value_and_gradient(loss, logits, labels)
        logits = logits - gradient
    chances = probabilities(logits, loss.activation)
    assert (chances.diagonal() > 0.45).all()


def test_the_first_bias_makes_every_class_equally_likely(loss: nn.Module) -> None:
    bias = loss.initial_bias(3)
    logits = torch.full((1, 3), 0.0 if bias is None else bias)
    chances = logits.sigmoid() if loss.activation == "sigmoid" else logits.softmax(1)
    torch.testing.assert_close(chances, torch.full((1, 3), 1 / 3))


def test_nothing_of_it_is_saved_with_the_model(loss: nn.Module) -> None:
    """Class weights come from the data set; a checkpoint serves another one too."""
    assert loss.state_dict() == {}


# ---- soft labels ----------------------------------------------------------------------------------------------------

VOTES = torch.tensor([[0.6, 0.3, 0.1], [0.0, 1.0, 0.0], [0.0, 0.49, 0.51], [1 / 3, 1 / 3, 1 / 3]])
WON = torch.tensor([0, 1, 2, 0])


def test_one_hot_soft_labels_give_value_and_gradient_of_the_labels(loss: nn.Module) -> None:
    logits, labels = torch.randn(64, 3) * 5, torch.randint(3, (64,))
    soft = value_and_gradient(loss, logits, labels, F.one_hot(labels, 3).float())
    torch.testing.assert_close(soft, value_and_gradient(loss, logits, labels), rtol=1e-5, atol=1e-6)


def test_soft_labels_give_the_mean_over_the_votes_with_the_weight_of_the_label(loss: nn.Module) -> None:
    logits = torch.randn(4, 3) * 3
    of_one_vote = [loss(logits, torch.full((4,), vote)) / loss.weights_C[vote] for vote in range(3)]
    expected = loss.weights_C[WON] * (VOTES * torch.stack(of_one_vote, dim=1)).sum(dim=1)
    torch.testing.assert_close(loss(logits, WON, VOTES), expected)


@pytest.mark.parametrize("dtype", DTYPES)
def test_value_and_gradient_of_soft_labels_are_finite_at_extreme_logits(loss: nn.Module, dtype: torch.dtype) -> None:
    grid = torch.cartesian_prod(*[torch.tensor(EXTREMES)] * 3).to(dtype)
    for votes, label in zip(VOTES, WON, strict=True):
        many = torch.full((len(grid),), int(label))
        losses, gradient = value_and_gradient(loss, grid, many, votes.expand(len(grid), 3))
        assert losses.dtype == torch.float32
        assert torch.isfinite(losses).all()
        assert (losses >= 0).all()
        assert torch.isfinite(gradient).all()
