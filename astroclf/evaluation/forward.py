"""A model over images, without gradients: one batch, or all of a loader."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.loader import BatchLoader
from astroclf.evaluation.predictions import Predictions, joined
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Prediction, probabilities
from astroclf.models.precision import Precision
from astroclf.util.ranks import ALONE, Ranks

# A pass over eight images costs half of eight passes over one (ResNet-18, 128 px, CPU); beyond 64, only memory grows.
IMAGES_AT_ONCE = 64


class Estimate(NamedTuple):
    """What a model says of a batch of images, the mean over its views.

    Attributes
    ----------
    probabilities_BC : (B, C) float32 tensor
    uncertainty_B : (B,) float32 tensor
        Estimated probability that the prediction is wrong.
    outputs : list of Prediction
        Of the network, one for each view.
    """

    probabilities_BC: Tensor
    uncertainty_B: Tensor
    outputs: list[Prediction]


@torch.no_grad()
def predict_proba(
    model: nn.Module,
    images_BCHW: Tensor,
    activation: str,
    *,
    tta_views: int = 1,
    precision: Precision | None = None,
) -> Estimate:
    """Compute class probabilities and uncertainty of a batch, with a model that is in evaluation mode.

    Both the uncertainty head and, without it, 1 - confidence estimate the probability that the prediction is wrong.

    Parameters
    ----------
    images_BCHW : (B, C, H, W) float32 tensor
        Normalised, on the model's device.
    activation : {"softmax", "sigmoid"}
        That of the loss which the model was trained with.
    tta_views : int
        1, or 8 to average over the eight symmetries of the square.
    precision : Precision, optional
        Of the forward pass; None: as the surrounding context has it.
    """
    views = [images_BCHW] if tta_views == 1 else list(dihedral_views(images_BCHW))
    at_once = max(1, IMAGES_AT_ONCE // max(1, len(images_BCHW)))  # views: of few images, one pass does several
    outputs, probabilities_parts, uncertainty_parts = [], [], []
    for first in range(0, len(views), at_once):
        some = views[first : first + at_once]
        with precision.autocast() if precision is not None else nullcontext():
            outputs += _of_views(model(some[0] if len(some) == 1 else torch.cat(some)), len(some))
    for output in outputs:
        probabilities_BC = probabilities(output.logits_BC, activation)
        wrong_B = output.uncertainty_B
        probabilities_parts.append(probabilities_BC)
        uncertainty_parts.append(1 - probabilities_BC.amax(dim=1) if wrong_B is None else wrong_B.float().sigmoid())
    return Estimate(torch.stack(probabilities_parts).mean(dim=0), torch.stack(uncertainty_parts).mean(dim=0), outputs)


def _of_views(output: Prediction, count: int) -> list[Prediction]:
    """Take apart what a network says of several views of a batch at once."""
    parts = ([None] * count if tensor is None else tensor.chunk(count) for tensor in output)
    return [Prediction(*of_view) for of_view in zip(*parts, strict=True)]


@torch.no_grad()
def evaluate(
    model: nn.Module,
    criterion: Criterion,
    loader: BatchLoader,
    precision: Precision,
    classes: tuple[str, ...],
    *,
    ids: np.ndarray | None = None,
    tta_views: int = 1,
) -> Predictions:
    """Run a model in evaluation mode over one pass of labelled images; its training mode is put back.

    Parameters
    ----------
    classes : tuple of str
        In label order.
    ids : array of str, optional
        Names of all images of the data set that `loader` reads from; None: their row numbers.
    tta_views : int
        See `predict_proba`; losses are the mean over the views too.
    """
    was_training = model.training
    model.eval()
    rows, labels, probabilities_parts, uncertainty_parts = [], [], [], []
    sums: dict[str, Tensor] = {}
    for batch in loader.epoch(0):
        estimate = predict_proba(
            model, batch.images_BCHW, str(criterion.loss.activation), tta_views=tta_views, precision=precision
        )
        for output in estimate.outputs:
            for name, loss_B in criterion(output, batch.labels_B, batch.targets_BC).by_name().items():
                mean = loss_B.double().sum() / len(estimate.outputs)
                sums[name] = sums[name] + mean if name in sums else mean
        rows.append(batch.rows_B)
        labels.append(batch.labels_B)
        probabilities_parts.append(estimate.probabilities_BC)
        uncertainty_parts.append(estimate.uncertainty_B)
    model.train(was_training)
    all_rows = np.concatenate(rows)
    return Predictions(
        classes=classes,
        ids=all_rows.astype(str) if ids is None else ids[all_rows],
        probabilities=torch.cat(probabilities_parts).cpu().numpy(),
        uncertainty=torch.cat(uncertainty_parts).cpu().numpy(),
        labels=torch.cat(labels).cpu().numpy(),
        losses={name: float(value) / len(all_rows) for name, value in sums.items()},
    )


@dataclass(frozen=True)
class Validation:
    """The validation of a classifier while it trains: the metrics of `evaluate` on the same images each time.

    Where several processes share the training, each has a part of the images in its loader; the metrics are of all.
    """

    criterion: Criterion
    loader: BatchLoader
    precision: Precision
    classes: tuple[str, ...]
    ranks: Ranks = ALONE

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Measure a model, which is in the mode that it was in afterwards."""
        own = evaluate(model, self.criterion, self.loader, self.precision, self.classes) if len(self.loader) else None
        parts = [part for part in self.ranks.gather(own) if part is not None]
        return joined(parts).metrics()
