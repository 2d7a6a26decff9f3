"""A model as one function of tensors, which graphs can be traced of: images in, its answers out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from astroclf.data.augment.dihedral import dihedral_views
from astroclf.data.augment.plan import plan
from astroclf.evaluation.metrics import SMALLEST
from astroclf.evaluation.novelty import Novelty
from astroclf.inference.predictor import Predictor
from astroclf.inference.spec import ModelSpec
from astroclf.models.classifier import Classifier, probabilities
from astroclf.use.export.resampling import EvaluationTransform


class Answers(NamedTuple):
    """What a program gives of B images, float32.

    Attributes
    ----------
    probabilities : (B, C)
        Calibrated; columns in the order of the classes.
    confidence : (B,)
        Estimated probability that the most probable class is right.
    uncertainty : (B,)
        Estimated probability that it is wrong.
    novelty : (B,) or None
        How unlike the training images each is, of a model that knows them; beyond 1, it is flagged.
    """

    probabilities: Any
    confidence: Any
    uncertainty: Any
    novelty: Any = None


class Program(nn.Module):
    """Everything that a model does to prepared images: evaluation transform, test-time views, network, calibration.

    Parameters
    ----------
    predictor
        The model, on the CPU.
    preprocessing : {"inside", "beside"}
        ``inside``: it takes uint8 pixels (B, S, S, C) of the model's image size S. ``beside``: what the evaluation
        transform makes of them, float32 (B, C, H, W).

    Attributes
    ----------
    outputs : tuple of str
        Which of `Answers` it gives, in order.
    """

    def __init__(self, predictor: Predictor, preprocessing: str) -> None:
        super().__init__()
        spec = predictor.spec
        self.transform: nn.Module = nn.Identity()
        if preprocessing == "inside":
            shape_BHWC = (1, spec.image_size, spec.image_size, spec.channels)
            self.transform = EvaluationTransform(plan(spec.augmentation, shape_BHWC, None), spec.channels)
        self.network: Classifier = predictor.model
        self.activation, self.views = spec.activation, spec.tta_views
        self.answering = FittedAnswers(spec)
        self.novelty = None if predictor.novelty is None else FittedNovelty(predictor.novelty)
        self.outputs = Answers._fields[:-1] if self.novelty is None else Answers._fields
        self.eval()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Compute the `outputs`."""
        images_BCHW = self.transform(images)
        if self.views > 1:  # one batch of all views: a graph of eight passes would be eight times as long
            images_BCHW = torch.cat(list(dihedral_views(images_BCHW)))
        logits_BC, wrong_B, features_BF = self.network(images_BCHW)
        own_BC = probabilities(logits_BC, self.activation)
        uncertainty_B = 1 - own_BC.amax(dim=1) if wrong_B is None else wrong_B.float().sigmoid()
        if self.views > 1:
            own_BC = own_BC.reshape(self.views, -1, own_BC.shape[1]).mean(dim=0)
            uncertainty_B = uncertainty_B.reshape(self.views, -1).mean(dim=0)
        answers: tuple[Tensor, ...] = self.answering(own_BC, uncertainty_B)
        if self.novelty is None or features_BF is None:
            return answers
        upright_BF = features_BF.reshape(self.views, -1, features_BF.shape[1])[0]
        return (*answers, self.novelty(upright_BF))


class FittedAnswers(nn.Module):
    """What `astroclf.evaluation.answering` does to a network's probabilities, in operations that graphs have."""

    temperature: Tensor
    bias: Tensor

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        given: Mapping[str, Any] = spec.calibration
        self.scaled = bool(given.get("temperature"))
        self.confidence: Mapping[str, Any] = given.get("confidence") or {}
        self.replaces_uncertainty = bool(given) and not spec.head.get("uncertainty", False)
        # Of nearly equal probabilities the confidence is a ratio of small differences: float32 would leave it 5 digits.
        self.dtype = torch.float64 if self.confidence else torch.float32
        for name, default in (("temperature", 1.0), ("bias", 0.0)):
            values = list(given.get(name) or [default])
            self.register_buffer(name, torch.tensor(values, dtype=self.dtype), persistent=False)

    def forward(self, own_BC: Tensor, uncertainty_B: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the `Answers`."""
        logarithms_BC = own_BC.clamp(min=SMALLEST).to(self.dtype).log()
        answered_BC = own_BC
        if self.scaled:
            answered_BC = (logarithms_BC / self.temperature + self.bias).softmax(dim=1).float()
        confidence_B = answered_BC.amax(dim=1)
        if self.confidence:
            norm = self.confidence["norm"]
            centred_BC = logarithms_BC - logarithms_BC.mean(dim=1, keepdim=True)
            label_B = answered_BC.argmax(dim=1)
            length_B = centred_BC.abs().pow(norm).sum(dim=1).pow(1 / norm).clamp(min=SMALLEST)
            score_B = centred_BC.gather(1, label_B[:, None])[:, 0] / length_B
            confidence_B = (score_B * self.confidence["slope"] + self.confidence["intercept"]).sigmoid().float()
        return answered_BC, confidence_B, 1 - confidence_B if self.replaces_uncertainty else uncertainty_B


class FittedNovelty(nn.Module):
    """What `astroclf.evaluation.novelty` makes of features, in float32, which every engine knows.

    Differences are squared as they are: the expanded square, which saves memory in float64, loses digits here.
    """

    center: Tensor
    whitening: Tensor
    means: Tensor

    def __init__(self, fitted: Novelty) -> None:
        super().__init__()
        for name, values in (
            ("center", fitted.center_F),
            ("whitening", fitted.whitening_FF),
            ("means", fitted.means_CF),
        ):
            self.register_buffer(name, torch.from_numpy(values), persistent=False)
        self.middle, self.length = fitted.scale.middle, fitted.scale.limit - fitted.scale.middle

    def forward(self, features_BF: Tensor) -> Tensor:
        """Compute the novelty, (B,)."""
        white_BF = (features_BF.float() - self.center) @ self.whitening
        squares_BC = (white_BF[:, None] - self.means).square().sum(dim=2)
        return (squares_BC.amin(dim=1).sqrt() - self.middle) / self.length
