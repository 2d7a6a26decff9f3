"""Focal loss, over sigmoids as in its paper or over a softmax, with optional class balance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.losses.class_weights import class_weights


class FocalLoss(nn.Module):
    """Cross entropy that samples already right contribute little to (Lin et al. 2017, arXiv:1708.02002).

    With p the probability given to the truth, a term is ``(1 - p)^gamma * (-log p)``. ``softmax`` has one term a
    sample. ``sigmoid``, the form of Lin and of Cui et al. 2019 (arXiv:1901.05555), sums one term per class: each output
    decides whether the image is of its class.

    With soft labels t the loss is the mean over the votes of what each as label gives: with f(p) a term as above,
    ``softmax`` sums ``t_c f(p_c)`` over the classes, ``sigmoid`` ``t_c f(p_c) + (1 - t_c) f(1 - p_c)``.

    Computed in float32 at least, from log-probabilities: value and gradient stay finite for gamma from 0 to 5 however
    large the logits (``(1 - exp(-ce))^gamma`` has an infinite derivative at a saturated sample when gamma < 1).

    Parameters
    ----------
    class_counts : (C,) int
        Training samples of each class.
    gamma : float
        0 is cross entropy; larger values turn to hard samples.
    activation : {"softmax", "sigmoid"}
        See above.
    beta : float
        Class balance, see `class_weights`; the true class's weight multiplies the sample's loss. 0: none. Also with
        soft labels, that is the class of the label.
    """

    def __init__(
        self,
        class_counts: Sequence[int] | np.ndarray | Tensor,
        gamma: float,
        activation: str,
        beta: float = 0.0,
    ) -> None:
        super().__init__()
        if activation not in ("softmax", "sigmoid"):
            raise ValueError(f"unknown activation {activation!r}: softmax or sigmoid")
        if not gamma >= 0:
            raise ValueError(f"gamma must be at least 0, got {gamma}")
        self.gamma = gamma
        self.activation = activation
        self.weights_C: Tensor
        self.register_buffer("weights_C", class_weights(class_counts, beta), persistent=False)

    def forward(self, logits_BC: Tensor, labels_B: Tensor, targets_BC: Tensor | None = None) -> Tensor:
        """Compute the loss of each sample, (B,) float32, against its label or, if given, its soft label."""
        logits_BC = logits_BC.float()
        if targets_BC is not None:
            losses_B = self._over_votes(logits_BC, targets_BC)
        elif self.activation == "softmax":
            losses_B = focal_term(softmax_margin(logits_BC, labels_B), self.gamma)
        else:
            truth_BC = F.one_hot(labels_B, logits_BC.shape[1]).bool()
            losses_B = focal_term(torch.where(truth_BC, logits_BC, -logits_BC), self.gamma).sum(dim=1)
        return self.weights_C[labels_B] * losses_B

    def _over_votes(self, logits_BC: Tensor, targets_BC: Tensor) -> Tensor:
        if self.activation == "softmax":
            return (targets_BC * focal_term(softmax_margins(logits_BC), self.gamma)).sum(dim=1)
        is_BC, is_not_BC = focal_term(logits_BC, self.gamma), focal_term(-logits_BC, self.gamma)
        return (targets_BC * is_BC + (1 - targets_BC) * is_not_BC).sum(dim=1)

    def initial_bias(self, num_classes: int) -> float | None:
        """Return the bias of the class scores to start from: -log(C - 1), a probability of 1/C each, for sigmoids."""
        return -math.log(num_classes - 1) if self.activation == "sigmoid" else None


def focal_term(margin: Tensor, gamma: float) -> Tensor:
    """Compute ``(1 - p)^gamma * (-log p)`` where p = sigmoid(margin)."""
    log_p, log_not_p = F.logsigmoid(margin), F.logsigmoid(-margin)
    return torch.exp(gamma * log_not_p) * -log_p


def softmax_margin(logits_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Compute the truth's logit less the others' log-sum-exp: its sigmoid is the softmax probability of the truth."""
    truth_BC = F.one_hot(labels_B, logits_BC.shape[1]).bool()
    others_B = logits_BC.masked_fill(truth_BC, -torch.inf).logsumexp(dim=1)
    return logits_BC.gather(1, labels_B[:, None]).squeeze(1) - others_B


def softmax_margins(logits_BC: Tensor) -> Tensor:
    """Compute the `softmax_margin` of every class as if it were the truth, (B, C)."""
    itself_CC = torch.eye(logits_BC.shape[1], dtype=torch.bool, device=logits_BC.device)
    others_BC = logits_BC[:, None, :].masked_fill(itself_CC, -torch.inf).logsumexp(dim=2)
    return logits_BC - others_BC
