"""A model over a loader of images, without gradients."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.loader import BatchLoader
from astroclf.evaluation.metrics import classification_metrics
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Prediction, probabilities
from astroclf.models.precision import Precision


@dataclass(frozen=True)
class Evaluation:
    """What a model says of N images, in the order of the loader.

    Attributes
    ----------
    rows : (N,) int64
        Rows of the data set.
    probabilities : (N, C) float32 tensor
    labels : (N,) int64 tensor
    uncertainty : (N,) float32 tensor
        Estimated probability that the prediction is wrong.
    loss : float
        Mean of the training loss.
    """

    rows: np.ndarray
    probabilities: torch.Tensor
    labels: torch.Tensor
    uncertainty: torch.Tensor
    loss: float

    def metrics(self, classes: tuple[str, ...]) -> dict[str, float]:
        """``loss`` and all of `classification_metrics`."""
        return {"loss": self.loss} | classification_metrics(
            self.probabilities, self.labels, classes, uncertainty_N=self.uncertainty
        )


def estimate(output: Prediction, activation: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities (B, C) and uncertainty (B,) of a model's output.

    Both the uncertainty head and, without it, 1 - confidence estimate the probability that the prediction is wrong.
    """
    probabilities_BC = probabilities(output.logits_BC, activation)
    if output.uncertainty_B is None:
        return probabilities_BC, 1 - probabilities_BC.amax(dim=1)
    return probabilities_BC, output.uncertainty_B.float().sigmoid()


@torch.no_grad()
def evaluate(
    model: nn.Module,
    criterion: Criterion,
    loader: BatchLoader,
    precision: Precision,
    *,
    tta_views: int = 1,
) -> Evaluation:
    """Run `model` in eval mode over one pass of `loader`; its training mode is put back.

    Parameters
    ----------
    tta_views : int
        1, or 8 to average probabilities, uncertainty and loss over the eight symmetries of the square.
    """
    was_training = model.training
    model.eval()
    rows, probabilities_parts, labels, uncertainties = [], [], [], []
    loss_sum = torch.zeros((), dtype=torch.float64, device=precision.device)
    for batch in loader.epoch(0):
        images = [batch.images_BCHW] if tta_views == 1 else list(dihedral_views(batch.images_BCHW))
        batch_probabilities, batch_uncertainty = [], []
        for images_BCHW in images:
            with precision.autocast():
                output = model(images_BCHW)
            view_probabilities, view_uncertainty = estimate(output, str(criterion.loss.activation))
            batch_probabilities.append(view_probabilities)
            batch_uncertainty.append(view_uncertainty)
            loss_sum += criterion(output, batch.labels_B).total_B.double().sum() / len(images)
        rows.append(batch.rows_B)
        probabilities_parts.append(torch.stack(batch_probabilities).mean(dim=0))
        uncertainties.append(torch.stack(batch_uncertainty).mean(dim=0))
        labels.append(batch.labels_B)
    model.train(was_training)
    all_rows = np.concatenate(rows)
    return Evaluation(
        rows=all_rows,
        probabilities=torch.cat(probabilities_parts).cpu(),
        labels=torch.cat(labels).cpu(),
        uncertainty=torch.cat(uncertainties).cpu(),
        loss=float(loss_sum) / len(all_rows),
    )
