"""What training minimises: the classification loss, and the uncertainty head's."""

from __future__ import annotations

from inspect import signature
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.data.loader import Batch
from astroclf.models.classifier import Prediction


class Losses(NamedTuple):
    """Losses of each sample, (B,) float32."""

    total_B: Tensor
    classification_B: Tensor
    uncertainty_B: Tensor | None  # before its weight; None without the uncertainty head

    def by_name(self) -> dict[str, Tensor]:
        """Return ``loss`` and, where it has two terms, each of them, by the names that records give them."""
        if self.uncertainty_B is None:
            return {"loss": self.total_B}
        terms = {"classification_loss": self.classification_B, "uncertainty_loss": self.uncertainty_B}
        return {"loss": self.total_B, **terms}

    def lerp(self, other: Losses, shares_B: Tensor) -> Losses:
        """Return the losses where a share of each is another's, of the same terms."""
        first, second = self, other
        mixed = (
            None if one is None or two is None else torch.lerp(one, two, shares_B)
            for one, two in zip(first, second, strict=True)
        )
        return Losses(*mixed)  # type: ignore[arg-type]


def takes_soft_labels(loss: type[nn.Module]) -> bool:
    """Tell if a class of losses has a `targets_BC` in its `forward`."""
    return "targets_BC" in signature(loss.forward).parameters


class Criterion(nn.Module):
    """Classification loss + weight x binary cross entropy of the uncertainty logit against "the prediction is wrong".

    The target of that is 1 where the highest class score is not the label's, 0 where it is; no gradient flows through
    it.

    Parameters
    ----------
    loss : nn.Module
        Logits (B, C) and labels (B,) to losses (B,); where there are soft labels, with these (B, C) as a third.
    uncertainty_weight : float
        Weight of the uncertainty term; small, since it is an auxiliary task.
    """

    def __init__(self, loss: nn.Module, uncertainty_weight: float = 0.1) -> None:
        super().__init__()
        self.loss = loss
        self.uncertainty_weight = uncertainty_weight

    def forward(self, prediction: Prediction, labels_B: Tensor, targets_BC: Tensor | None = None) -> Losses:
        """Compute the loss of each sample and its terms.

        Parameters
        ----------
        labels_B : (B,) int64
        targets_BC : (B, C) float32, optional
            Soft labels, for the classification loss alone: what counts as wrong goes by `labels_B`.
        """
        soft = () if targets_BC is None else (targets_BC,)  # a loss need not know of them
        classification_B = self.loss(prediction.logits_BC, labels_B, *soft)
        if prediction.uncertainty_B is None:
            return Losses(classification_B, classification_B, None)
        wrong_B = (prediction.logits_BC.argmax(dim=1) != labels_B).float()
        uncertainty_B = F.binary_cross_entropy_with_logits(prediction.uncertainty_B.float(), wrong_B, reduction="none")
        return Losses(classification_B + self.uncertainty_weight * uncertainty_B, classification_B, uncertainty_B)

    def sums(self, output: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Sum the loss, its terms and ``mean_uncertainty`` over a batch, whose images may be mixed with others."""
        losses = self(output, batch.labels_B, batch.targets_BC)
        if batch.partners is not None:
            labels_B, targets_BC, shares_B = batch.partners
            losses = losses.lerp(self(output, labels_B, targets_BC), shares_B)
        sums = {name: loss_B.sum() for name, loss_B in losses.by_name().items()}
        if output.uncertainty_B is not None:
            sums["mean_uncertainty"] = output.uncertainty_B.detach().sigmoid().sum()
        return sums
