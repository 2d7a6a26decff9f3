from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from astroclf.losses.class_weights import class_weights
from astroclf.losses.cross_entropy import CrossEntropy


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_it_is_torchs(smoothing: float) -> None:
    logits, labels = torch.randn(32, 5), torch.randint(5, (32,))
    mean = CrossEntropy([1] * 5, label_smoothing=smoothing)(logits, labels).mean()
    torch.testing.assert_close(mean, F.cross_entropy(logits, labels, label_smoothing=smoothing))


def test_the_true_classs_weight_multiplies_the_sample() -> None:
    """torch's own `weight=` would also divide by the batch's sum of weights: a sample's loss would depend on it."""
    counts, logits, labels = [500, 20, 3], torch.randn(6, 3), torch.tensor([0, 1, 2, 2, 1, 0])
    balanced = CrossEntropy(counts, beta=0.999)(logits, labels)
    expected = F.cross_entropy(logits, labels, reduction="none") * class_weights(counts, 0.999)[labels]
    torch.testing.assert_close(balanced, expected)


@pytest.mark.parametrize("smoothing", [-0.1, 1.0])
def test_bad_smoothing_is_refused(smoothing: float) -> None:
    with pytest.raises(ValueError, match="label_smoothing"):
        CrossEntropy([1, 1], label_smoothing=smoothing)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_labels_are_least_where_the_probabilities_are_the_smoothed_votes(smoothing: float) -> None:
    votes = torch.tensor([[0.6, 0.3, 0.1], [0.2, 0.0, 0.8]])
    best = (1 - smoothing) * votes + smoothing / 3
    logits = best.clamp(min=1e-12).log().requires_grad_()
    losses = CrossEntropy([1] * 3, label_smoothing=smoothing)(logits, votes.argmax(1), votes)
    losses.sum().backward()
    torch.testing.assert_close(losses, -torch.special.xlogy(best, best).sum(1))
    torch.testing.assert_close(logits.grad, torch.zeros(2, 3), rtol=0, atol=1e-6)
