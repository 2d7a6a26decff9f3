"""Learning from another model's answers beside the labels (Hinton et al. 2015, arXiv:1503.02531)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.data.loader import Batch
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Prediction

TINY = torch.finfo(torch.float32).tiny


class Distillation(Criterion):
    """The loss of a student: of its labels, and of what a teacher says of the same pixels.

    The teacher sees what the student sees, augmented and mixed with others as it is: "a good teacher is patient and
    consistent" (Beyer et al. 2021, arXiv:2106.05237). Validation and test go by the labels alone, as of any loss.

    Parameters
    ----------
    loss, uncertainty_weight
        As for `Criterion`.
    teacher : callable
        Prepared images (B, C, H, W) to class probabilities (B, C), without gradients.
    weight : float
        Share of the teacher's answers in the loss; the labels have the rest.
    temperature : float
        See `distillation_loss`.
    """

    def __init__(
        self,
        loss: nn.Module,
        uncertainty_weight: float,
        teacher: Callable[[Tensor], Tensor],
        weight: float,
        temperature: float,
    ) -> None:
        super().__init__(loss, uncertainty_weight)
        self._teacher, self.weight, self.temperature = teacher, weight, temperature
        self._answered: tuple[Tensor, Tensor] | None = None

    def sums(self, output: Prediction, batch: Batch) -> dict[str, Tensor]:
        """Sum the loss and its terms over a batch, ``distillation_loss`` among them, before their weights."""
        sums = super().sums(output, batch)
        said_BC = self._answers(batch.images_BCHW)
        activation = str(self.loss.activation)
        taught = distillation_loss(output.logits_BC, said_BC, activation, self.temperature).sum()
        labelled = sums.get("classification_loss", sums["loss"])
        total = sums["loss"] + self.weight * (taught - labelled)
        return {**sums, "loss": total, "classification_loss": labelled, "distillation_loss": taught}

    def _answers(self, images_BCHW: Tensor) -> Tensor:
        """Ask the teacher, once of the same images: a sharpness-aware step passes over them twice."""
        if self._answered is None or self._answered[0] is not images_BCHW:
            self._answered = images_BCHW, self._teacher(images_BCHW)
        return self._answered[1]


def distillation_loss(logits_BC: Tensor, taught_BC: Tensor, activation: str, temperature: float) -> Tensor:
    """Compute T² KL(teacher ‖ student) of each sample, (B,) float32, both at the temperature T.

    T² keeps the size of the gradients whatever T is. Of a loss over sigmoids, the student's probabilities are those
    that it answers with: scaled so that their sum is 1.

    Parameters
    ----------
    logits_BC
        Of the student.
    taught_BC
        Probabilities of the teacher.
    activation : {"softmax", "sigmoid"}
        Of the student's loss.
    """
    logits_BC = logits_BC.float()
    scores_BC = logits_BC if activation == "softmax" else F.logsigmoid(logits_BC)
    student_BC = F.log_softmax(scores_BC / temperature, dim=1)
    teacher_BC = F.log_softmax(taught_BC.float().clamp_min(TINY).log() / temperature, dim=1)
    return temperature**2 * F.kl_div(student_BC, teacher_BC, reduction="none", log_target=True).sum(dim=1)
