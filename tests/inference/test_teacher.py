"""Models that answer about a student's pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from astroclf.inference.teacher import Teacher
from astroclf.registry.load import load
from tests.data.augment.recipes import recipe

IMAGES = np.random.default_rng(0).integers(0, 255, (4, 32, 32, 3), np.uint8)


@pytest.mark.parametrize("mean", [[0.4] * 3, [0.1, 0.5, 0.9]], ids=["the same", "another"])
def test_it_says_what_its_members_say_in_the_order_and_normalisation_of_the_student(tiny_package, mean):
    member = load(tiny_package, device="cpu", precision="fp32")
    student = recipe(mean=mean, std=[0.2, 0.3, 0.2] if mean[0] == 0.1 else [0.2] * 3)
    classes = member.classes[::-1]
    said = Teacher([member, member], classes, student)(student(torch.from_numpy(IMAGES), None))
    own = member.before_and_after(IMAGES)[0].probabilities[:, ::-1]
    np.testing.assert_allclose(said, own, atol=1e-5)
    assert not said.requires_grad
