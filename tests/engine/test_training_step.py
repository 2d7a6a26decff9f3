"""One optimizer step, whatever it is a part of."""

from __future__ import annotations

import numpy as np
import torch

from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.training_step import TrainingStep
from astroclf.losses.criterion import Criterion
from astroclf.losses.cross_entropy import CrossEntropy
from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.precision import choose_precision
from astroclf.settings.training import TrainerSettings
from tests.data.augment.recipes import recipe
from tests.settings.defaults import default


def test_accumulation_equals_the_larger_batch(images):
    """Without BatchNorm and dropout, two batches of four are one of eight."""
    pictures, labels = images
    pixels = PixelBuffer(pictures, "memory")

    def weights(batch_size, grad_accum_steps):
        torch.manual_seed(0)
        model = Classifier(Custom6Conv(image_size=32, dropout=0.0), 3)
        step = TrainingStep(
            model,
            Criterion(CrossEntropy([14, 14, 14])),
            torch.optim.SGD(parameter_groups(model, 0.0), lr=1e-2),
            choose_precision("fp32", torch.device("cpu")),
            default(TrainerSettings),
        )
        augmentation = recipe(dihedral=True, brightness=0.1)
        loader = BatchLoader(
            pixels, labels, np.arange(42), batch_size=batch_size, augmentation=augmentation, seed=3, train=True
        )
        batches = loader.epoch(0)
        taken = step.take([next(batches) for _ in range(grad_accum_steps)])
        batches.close()
        assert taken.images == 8
        return [taken.loss, *(p.detach() for p in model.parameters())]

    for one, two in zip(weights(8, 1), weights(4, 2), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-6)
