"""Learning from a teacher's answers: the formula, its limits, and what of the loss it is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import special, stats
from torch import nn

from astroclf.data.loader import Batch, Partners
from astroclf.engine.training_step import TrainingStep
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.losses.distillation import Distillation, distillation_loss
from astroclf.losses.focal import FocalLoss
from astroclf.models.classifier import Prediction, probabilities
from astroclf.models.precision import choose_precision
from astroclf.settings.training import TrainerSettings
from tests.settings.defaults import default

LABELS = torch.tensor([0, 1, 2])
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [3.0, 0.0, 1.0], [0.0, 0.0, 4.0]])
TAUGHT = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.3, 0.3, 0.4]])
IMAGES = torch.zeros(3, 3, 4, 4)
LOSSES = [CrossEntropy([1, 1, 1]), FocalLoss([1, 1, 1], gamma=2.0, activation="sigmoid")]


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_it_is_the_divergence_at_the_temperature_times_its_square(temperature):
    said = distillation_loss(LOGITS, TAUGHT, "softmax", temperature)
    teacher = special.softmax(np.log(TAUGHT.numpy()) / temperature, axis=1)
    student = special.softmax(LOGITS.numpy() / temperature, axis=1)
    np.testing.assert_allclose(said, temperature**2 * stats.entropy(teacher, student, axis=1), rtol=1e-5)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_who_answers_as_the_teacher_does_has_nothing_to_learn(activation, temperature):
    logits = LOGITS.clone().requires_grad_()
    loss = distillation_loss(logits, probabilities(LOGITS, activation), activation, temperature)
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient, torch.zeros(3, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid"])
def test_extreme_answers_of_either_stay_finite(activation):
    logits = torch.tensor([[1e4, -1e4, 0.0]]).requires_grad_()
    loss = distillation_loss(logits, torch.tensor([[0.0, 1.0, 0.0]]), activation, 1.0)
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.isfinite(loss).all()
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("loss", LOSSES, ids=["softmax", "sigmoid"])
def test_the_loss_is_shared_out_between_labels_and_teacher(loss):
    doubt = torch.tensor([0.5, -1.0, 0.0])
    criterion = Distillation(loss, 0.1, lambda images_BCHW: TAUGHT, weight=0.75, temperature=2.0)
    sums = criterion.sums(Prediction(LOGITS, doubt), Batch(IMAGES, LABELS, np.arange(3)))
    labelled = loss(LOGITS, LABELS).sum()
    taught = distillation_loss(LOGITS, TAUGHT, loss.activation, 2.0).sum()
    torch.testing.assert_close(sums["classification_loss"], labelled)
    torch.testing.assert_close(sums["distillation_loss"], taught)
    torch.testing.assert_close(sums["loss"], 0.25 * labelled + 0.75 * taught + 0.1 * sums["uncertainty_loss"])
    assert torch.equal(criterion(Prediction(LOGITS, None), LABELS).total_B, loss(LOGITS, LABELS))  # as validated


def test_of_mixed_images_the_labels_are_mixed_and_the_teacher_answers_for_what_is_seen():
    criterion = Distillation(LOSSES[0], 0.1, lambda images_BCHW: TAUGHT, weight=0.5, temperature=1.0)
    partners = Partners(LABELS.flip(0), None, torch.full((3,), 0.25))
    sums = criterion.sums(Prediction(LOGITS, None), Batch(IMAGES, LABELS, np.arange(3), partners=partners))
    labelled = 0.75 * LOSSES[0](LOGITS, LABELS).sum() + 0.25 * LOSSES[0](LOGITS, LABELS.flip(0)).sum()
    torch.testing.assert_close(sums["classification_loss"], labelled)
    torch.testing.assert_close(sums["distillation_loss"], distillation_loss(LOGITS, TAUGHT, "softmax", 1.0).sum())


def test_a_sharpness_aware_step_asks_the_teacher_once():
    class Student(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scores = nn.Linear(48, 3)

        def forward(self, images_BCHW):
            return Prediction(self.scores(images_BCHW.flatten(1)), None)

    asked = []
    criterion = Distillation(LOSSES[0], 0.1, lambda images: asked.append(len(images)) or TAUGHT, 0.5, 1.0)
    student = Student()
    optimizer = torch.optim.SGD([{"params": [*student.parameters()], "rho": 0.05}], lr=0.1)
    step = TrainingStep(
        student, criterion, optimizer, choose_precision("fp32", torch.device("cpu")), default(TrainerSettings)
    )
    for images in (torch.rand(3, 3, 4, 4), torch.rand(3, 3, 4, 4)):
        assert torch.isfinite(step.take([Batch(images, LABELS, np.arange(3))]).loss)
    assert asked == [3, 3]
