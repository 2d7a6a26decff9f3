from __future__ import annotations

import math

import pytest
import torch

from astroclf.losses.criterion import Criterion, takes_soft_labels
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Prediction

LABELS = torch.tensor([0, 1, 2])
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [3.0, 0.0, 1.0], [0.0, 0.0, 4.0]])  # right, wrong, right


def test_without_the_uncertainty_head_it_is_the_classification_loss() -> None:
    loss = CrossEntropy([1, 1, 1])
    losses = Criterion(loss)(Prediction(LOGITS, None), LABELS)
    assert torch.equal(losses.total_B, loss(LOGITS, LABELS))
    assert torch.equal(losses.classification_B, losses.total_B)
    assert losses.uncertainty_B is None


def test_the_uncertainty_term_is_a_tenth_of_bce_against_being_wrong() -> None:
    doubt = torch.tensor([math.log(1 / 3), math.log(3), 0.0])  # probabilities of being wrong: 1/4, 3/4, 1/2
    losses = Criterion(CrossEntropy([1, 1, 1]))(Prediction(LOGITS, doubt), LABELS)
    expected = torch.tensor([-math.log(3 / 4), -math.log(3 / 4), -math.log(1 / 2)])
    torch.testing.assert_close(losses.uncertainty_B, expected)
    torch.testing.assert_close(losses.total_B, losses.classification_B + 0.1 * expected)


def test_doubt_is_pushed_up_where_the_prediction_is_wrong() -> None:
    doubt = torch.zeros(3, requires_grad=True)
    Criterion(CrossEntropy([1, 1, 1]))(Prediction(LOGITS, doubt), LABELS).total_B.sum().backward()
    assert doubt.grad is not None
    assert (doubt.grad < 0).tolist() == [False, True, False]


def test_no_gradient_of_the_uncertainty_term_reaches_the_class_scores() -> None:
    gradients = []
    for doubt in (None, torch.randn(3, requires_grad=True)):
        logits = LOGITS.clone().requires_grad_()
        Criterion(CrossEntropy([1, 1, 1]), uncertainty_weight=5.0)(
            Prediction(logits, doubt), LABELS
        ).total_B.sum().backward()
        gradients.append(logits.grad)
    assert torch.equal(*gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("extreme", [1e4, -1e4])
def test_extreme_doubt_stays_finite(dtype: torch.dtype, extreme: float) -> None:
    doubt = torch.full((3,), extreme, dtype=dtype, requires_grad=True)
    losses = Criterion(CrossEntropy([1, 1, 1]))(Prediction(LOGITS, doubt), LABELS)
    losses.total_B.sum().backward()
    assert losses.total_B.dtype == torch.float32
    assert torch.isfinite(losses.total_B).all()
    assert torch.isfinite(doubt.grad).all()


class OfTwoArguments(torch.nn.Module):
    """A loss that knows of no soft labels, as docs/extending.md allows."""

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return -logits.gather(1, labels[:, None]).squeeze(1)


def test_a_loss_need_not_know_of_soft_labels() -> None:
    assert torch.equal(Criterion(OfTwoArguments())(Prediction(LOGITS, None), LABELS).total_B, -LOGITS[range(3), LABELS])
    assert not takes_soft_labels(OfTwoArguments)
    assert takes_soft_labels(CrossEntropy)


def test_soft_labels_change_the_classification_alone() -> None:
    votes, doubt = torch.tensor([[0.5, 0.4, 0.1], [0.3, 0.7, 0.0], [0.0, 0.2, 0.8]]), torch.randn(3)
    loss = CrossEntropy([1, 1, 1])
    hard, soft = (Criterion(loss)(Prediction(LOGITS, doubt), LABELS, *more) for more in ((), (votes,)))
    assert torch.equal(soft.classification_B, loss(LOGITS, LABELS, votes))
    assert not torch.equal(soft.classification_B, hard.classification_B)
    assert torch.equal(soft.uncertainty_B, hard.uncertainty_B)
