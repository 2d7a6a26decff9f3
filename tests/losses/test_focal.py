from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from astroclf.losses.class_weights import class_weights
from astroclf.losses.focal import FocalLoss, focal_term, softmax_margin, softmax_margins

GOLDEN = {  # logits 2, -1, 0.5; the first class is true
    "sigmoid": {0: 1.414267, 0.5: 0.974788, 1: 0.705703, 2: 0.401873, 5: 0.091466},
    "softmax": {0: 0.241311, 0.5: 0.111736, 1: 0.051738, 2: 0.011093, 5: 0.000109},
}


@pytest.mark.parametrize(
    ("activation", "gamma", "expected"),
    [(activation, gamma, value) for activation, values in GOLDEN.items() for gamma, value in values.items()],
)
def test_golden_values(activation: str, gamma: float, expected: float) -> None:
    loss = FocalLoss([1, 1, 1], gamma=gamma, activation=activation)
    assert loss(torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([0])).item() == pytest.approx(expected, abs=1e-6)


def test_gamma_zero_is_cross_entropy_over_a_softmax() -> None:
    logits, labels = torch.randn(64, 10) * 10, torch.randint(10, (64,))
    loss = FocalLoss([1] * 10, gamma=0.0, activation="softmax")
    torch.testing.assert_close(loss(logits, labels), F.cross_entropy(logits, labels, reduction="none"))


def test_gamma_zero_is_binary_cross_entropy_summed_over_sigmoids() -> None:
    logits, labels = torch.randn(64, 10) * 10, torch.randint(10, (64,))
    truth = F.one_hot(labels, 10).float()
    expected = F.binary_cross_entropy_with_logits(logits, truth, reduction="none").sum(1)
    torch.testing.assert_close(FocalLoss([1] * 10, gamma=0.0, activation="sigmoid")(logits, labels), expected)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@settings(deadline=None, max_examples=50)
@given(gamma=st.floats(0.0, 5.0), logits=st.lists(st.floats(-8, 8), min_size=2, max_size=8))
def test_it_is_the_papers_formula(activation: str, gamma: float, logits: list[float]) -> None:
    """Written out with probabilities in float64, which is exact enough at moderate logits."""
    scores = torch.tensor([logits], dtype=torch.float64)
    if activation == "softmax":
        chance = scores.softmax(1)[:, :1]
    else:
        chance = scores.sigmoid()
        chance[:, 1:] = 1 - chance[:, 1:]
    expected = ((1 - chance) ** gamma * -chance.log()).sum().item()
    loss = FocalLoss([1] * len(logits), gamma=gamma, activation=activation)
    assert loss(scores.float(), torch.tensor([0])).item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_the_true_classs_weight_multiplies_the_whole_sample(activation: str) -> None:
    counts, logits, labels = [500, 20, 3], torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    balanced = FocalLoss(counts, gamma=1.0, beta=0.999, activation=activation)(logits, labels)
    plain = FocalLoss(counts, gamma=1.0, activation=activation)(logits, labels)
    torch.testing.assert_close(balanced, plain * class_weights(counts, 0.999)[labels])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
def test_gradients_are_those_of_the_formula(gamma: float) -> None:
    logits = torch.randn(4, 5, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 3, 4, 1])
    assert torch.autograd.gradcheck(lambda x: focal_term(softmax_margin(x, labels), gamma), logits)
    assert torch.autograd.gradcheck(lambda x: focal_term(x, gamma), logits)
    assert torch.autograd.gradcheck(lambda x: focal_term(softmax_margins(x), gamma), logits)


def test_tiny_losses_of_saturated_samples_are_not_rounded_to_zero() -> None:
    """exp(-30) is below float32's spacing at 1, and still is the loss."""
    loss = FocalLoss([1, 1], gamma=0.0, activation="softmax")(torch.tensor([[30.0, 0.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(math.exp(-30), rel=1e-3)


def test_larger_gamma_turns_to_hard_samples() -> None:
    easy_and_hard = torch.tensor([[3.0, 0.0], [0.0, 1.0]])
    shares = []
    for gamma in (0.0, 1.0, 2.0, 5.0):
        easy, hard = FocalLoss([1, 1], gamma=gamma, activation="softmax")(easy_and_hard, torch.tensor([0, 0]))
        shares.append(float(hard / (easy + hard)))
    assert shares == sorted(shares)
    assert shares[0] < 0.97
    assert shares[-1] > 0.999


def test_the_first_bias() -> None:
    assert FocalLoss([1] * 10, activation="sigmoid", gamma=2.0).initial_bias(10) == pytest.approx(-math.log(9))
    assert FocalLoss([1] * 10, activation="softmax", gamma=2.0).initial_bias(10) is None


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="tanh"):
        FocalLoss([1, 1], activation="tanh", gamma=2.0)
    with pytest.raises(ValueError, match="gamma"):
        FocalLoss([1, 1], gamma=-1.0, activation="softmax")


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_soft_labels_weigh_the_terms_of_the_formula(activation: str, gamma: float) -> None:
    """Written out with probabilities in float64."""
    scores, votes = torch.randn(16, 5, dtype=torch.float64) * 2, torch.rand(16, 5, dtype=torch.float64).softmax(1)
    p = scores.softmax(1) if activation == "softmax" else scores.sigmoid()
    terms = votes * (1 - p) ** gamma * -p.log()
    if activation == "sigmoid":
        terms = terms + (1 - votes) * p**gamma * -(1 - p).log()
    loss = FocalLoss([1] * 5, gamma=gamma, activation=activation)(scores.float(), votes.argmax(1), votes.float())
    torch.testing.assert_close(loss, terms.sum(1).float(), rtol=1e-4, atol=1e-6)
