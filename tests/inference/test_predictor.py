"""A packaged model answers by what was fitted on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from torch import nn

from astroclf.evaluation.answering import Answering
from astroclf.evaluation.calibration import Calibration
from astroclf.evaluation.confidence import NormConfidence
from astroclf.evaluation.conformal import Conformal
from astroclf.registry.package import load_package
from tests.tiny import write_tiny_package

IMAGES = np.random.default_rng(0).integers(0, 256, (9, 32, 32, 3), dtype=np.uint8)


@pytest.mark.parametrize("head", [True, False])
def test_the_answers_are_those_of_the_stored_calibration(
    head: bool, tmp_path: Path, tiny_backbone: type[nn.Module]
) -> None:
    stored = Answering(
        calibration=Calibration(temperature=[0.2, 0.3, 0.4], bias=[0.1, 0.0, -0.1]),
        confidence=NormConfidence(norm=4, slope=3.0, intercept=-2.0),
        conformal=Conformal(coverage=0.8, thresholds=[0.6, 0.7, 0.8], ranks=[1, 2, 3]),
        uncertainty_head=head,
    )
    plain = load_package(write_tiny_package(tmp_path / "plain", head={"uncertainty": head}), device="cpu")
    model = load_package(
        write_tiny_package(tmp_path / "fitted", head={"uncertainty": head}, **stored.to_plain()), device="cpu"
    )
    assert model.answering == stored, "written and read, it is the same"
    own, answers = plain.classify(IMAGES), model.classify(IMAGES, batch_size=2)
    expected = stored(own)
    np.testing.assert_allclose(answers.probabilities, expected.probabilities, atol=1e-6)
    np.testing.assert_allclose(answers.confidence, expected.confidence, atol=1e-5)
    np.testing.assert_allclose(answers.uncertainty, expected.uncertainty, atol=1e-5)
    assert answers.set_names.tolist() == expected.set_names.tolist()
    assert np.abs(answers.probabilities - own.probabilities).max() > 0.05
    assert own.sets is None
