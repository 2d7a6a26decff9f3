"""The whole network: a backbone, the heads that were asked for, and one linear layer to the class scores."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.models.blocks import output_init
from astroclf.models.heads import Attention, Refinement, Uncertainty


class Prediction(NamedTuple):
    """What a network says of a batch of images, float32."""

    logits_BC: Tensor
    uncertainty_B: Tensor | None  # logit of "the predicted class is wrong"; None without the uncertainty head
    features_BF: Tensor | None = None  # what the backbone made of them, before any head


class Classifier(nn.Module):
    """A network from images (B, C, H, W) to a `Prediction`.

    The heads work in float32 also under autocast: they cost nothing next to the backbone, and bfloat16 logits of
    near-equal classes tie. The uncertainty head reads the features before the attention gate, which is for the class
    scores alone. Its gradient flows on into the backbone: its small weight in the loss makes it an auxiliary task.

    Parameters
    ----------
    backbone : nn.Module
        With a `num_features` attribute; images to features (B, num_features).
    num_classes : int
        Number of classes.
    refinement, attention, uncertainty : bool
        Which heads there are; see `astroclf.models.heads`.
    hidden : int
        Width of the refinement head.
    dropout : float
        Probability, in the refinement and uncertainty heads.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        *,
        refinement: bool = False,
        attention: bool = False,
        uncertainty: bool = False,
        hidden: int = 512,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        width = int(backbone.num_features)  # type: ignore[arg-type]
        self.refinement = Refinement(width, hidden, dropout) if refinement else None
        width = hidden if refinement else width
        self.attention = Attention(width) if attention else None
        self.scores = nn.Linear(width, num_classes)
        output_init(self.scores)
        self.uncertainty = Uncertainty(width, dropout) if uncertainty else None

    def forward(self, images_BCHW: Tensor) -> Prediction:
        """Compute the class scores, and the uncertainty where there is that head."""
        features_BF = self.backbone(images_BCHW)
        device = features_BF.device.type
        # `is_autocast_available` would break the graph of torch.compile in two (torch 2.11).
        if device == "meta" or not torch.is_autocast_enabled(device):
            return self._heads(features_BF)
        with torch.autocast(device, enabled=False):
            return self._heads(features_BF.float())

    def features(self, images_BCHW: Tensor) -> Tensor:
        """Compute what the backbone makes of images, before any head: (B, F) float32."""
        return self.backbone(images_BCHW).float()

    def set_output_bias(self, value: float) -> None:
        """Set the bias of every class score, such as -log(C - 1): each class starts at probability 1/C (sigmoid)."""
        nn.init.constant_(self.scores.bias, value)

    def _heads(self, features_BF: Tensor) -> Prediction:
        of_backbone_BF = features_BF
        if self.refinement is not None:
            features_BF = self.refinement(features_BF)
        uncertainty_B = self.uncertainty(features_BF) if self.uncertainty is not None else None
        if self.attention is not None:
            features_BF = self.attention(features_BF)
        return Prediction(self.scores(features_BF), uncertainty_B, of_backbone_BF)


def probabilities(logits_BC: Tensor, activation: str = "softmax") -> Tensor:
    """Compute class probabilities (B, C), float32, each row summing to 1.

    Parameters
    ----------
    logits_BC : Tensor
        Class scores.
    activation : {"softmax", "sigmoid"}
        That of the loss the network was trained with. Sigmoids, one per class, are scaled to sum to 1.
    """
    logits_BC = logits_BC.float()
    if activation == "softmax":
        return logits_BC.softmax(dim=1)
    if activation == "sigmoid":
        return F.logsigmoid(logits_BC).softmax(dim=1)  # = sigmoid / sum of sigmoids, also where all of them underflow
    raise ValueError(f"unknown activation {activation!r}: softmax or sigmoid")
