"""What the parts make together of a network's predictions, and when each of them is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from astroclf.evaluation.answering import Answering, answer_metrics, fit_answering
from astroclf.evaluation.calibration import Calibration
from astroclf.evaluation.confidence import NormConfidence
from astroclf.evaluation.conformal import Conformal, fit_conformal
from tests.evaluation.drawn import drawn

CONFORMAL = Conformal(coverage=0.9, thresholds=[0.5] * 5, ranks=[2] * 5)


def test_answers_of_a_network_that_is_too_sure_mean_what_they_say() -> None:
    fit = fit_answering(drawn(1500, temperature=2.5), "temperature", 0.9, uncertainty_head=False)
    own = drawn(8000, seed=1, temperature=2.5)
    answers = fit.answering(own)
    figures = answer_metrics(own, answers)
    assert figures["ece_raw"] > 0.1
    assert figures["ece"] < 0.03
    assert figures["log_loss"] < figures["log_loss_raw"]
    assert figures["accuracy"] == own.metrics()["accuracy"]
    assert answers.predicted.tolist() == own.predicted.tolist()
    assert figures["coverage"] == pytest.approx(0.9, abs=0.03)
    assert answers.probabilities.dtype == own.probabilities.dtype
    np.testing.assert_allclose(answers.uncertainty, 1 - answers.confidence)
    assert fit.figures()["temperature"] == pytest.approx(2.5, rel=0.1)
    assert fit.figures()["applied"] == 1
    assert "Temperature 2." in fit.sentences[0]


def test_answers_of_a_subset_are_the_subset_of_the_answers() -> None:
    """The batch size does not matter."""
    fit = fit_answering(drawn(400, temperature=2.5), "vector", 0.8, uncertainty_head=False)
    own = drawn(60, seed=1, temperature=2.5)
    whole, part = fit.answering(own), fit.answering(own.take(slice(20, 23)))
    assert part.probabilities.tolist() == whole.probabilities[20:23].tolist()
    assert part.set_names.tolist() == whole.set_names[20:23].tolist()


def test_the_rule_of_the_sets_is_fitted_on_images_that_their_calibration_has_not_seen() -> None:
    said = drawn(200, temperature=2.5)
    fit = fit_answering(said, "vector", 0.9, uncertainty_head=False)
    assert fit.calibration is not None
    assert fit.answering.calibration is not None
    assert fit.answering.conformal == fit_conformal(fit.calibration.out_of_fold_NC, said.truth, 0.9)
    assert fit.answering.conformal != fit_conformal(fit.answering.calibration(said.probabilities), said.truth, 0.9)


def test_the_uncertainty_of_a_head_stays() -> None:
    own = replace(drawn(30), uncertainty=np.linspace(0, 1, 30))
    answering = Answering(calibration=Calibration(temperature=[2.0]), uncertainty_head=True)
    assert answering(own).uncertainty.tolist() == own.uncertainty.tolist()


def test_without_any_part_predictions_stay_to_the_bit() -> None:
    own = replace(drawn(30), uncertainty=np.linspace(0, 1, 30))  # of the mean over views, it is not 1 - confidence
    answers = Answering()(own)
    assert answers.probabilities.tolist() == own.probabilities.tolist()
    assert answers.uncertainty.tolist() == own.uncertainty.tolist()
    assert answers.scores is answers.sets is None


def test_the_confidence_is_the_score_where_there_is_one() -> None:
    own = drawn(30)
    answers = Answering(confidence=NormConfidence(norm=2, slope=3.0, intercept=-1.0))(own)
    assert answers.probabilities.tolist() == own.probabilities.tolist()
    assert (answers.confidence != own.confidence).all()


@pytest.mark.parametrize(
    ("validation", "said"),
    [
        (drawn(400), "Not calibrated. Temperature"),
        (replace(drawn(60), labels=drawn(60).predicted), "Not calibrated: of 60 validation images none"),
        (drawn(12), "Nothing is fitted on the validation images.*12 are fewer than 20"),
        (replace(drawn(60), probabilities=np.full((60, 5), np.nan)), "Nothing is fitted.*no numbers"),
    ],
    ids=["calibrated already", "all right", "few", "diverged"],
)
def test_a_calibration_that_may_be_chance_is_left_out_and_said(validation, said: str) -> None:  # type: ignore[no-untyped-def]
    fit = fit_answering(validation, "temperature", 0.9, uncertainty_head=False)
    assert fit.answering.calibration is None
    assert fit.answering.confidence is None
    assert "temperature" not in fit.figures()
    (first, *_) = fit.sentences
    import re

    assert re.match(said, first)


def test_nothing_asked_for_is_nothing_done_and_nothing_said() -> None:
    fit = fit_answering(drawn(400, temperature=2.5), None, None, uncertainty_head=False)
    assert fit.answering == Answering()
    assert fit.sentences == []
    assert fit.figures() == {"images": 400}
    assert fit_answering(drawn(5), None, None, uncertainty_head=False).sentences == []


def test_sets_without_calibration_and_calibration_without_sets() -> None:
    said = drawn(400, temperature=2.5)
    only_sets = fit_answering(said, None, 0.9, uncertainty_head=False).answering
    assert only_sets.calibration is None
    assert only_sets.conformal is not None
    only_calibration = fit_answering(said, "temperature", None, uncertainty_head=False).answering
    assert only_calibration.conformal is None
    assert only_calibration.calibration is not None
    few = fit_answering(said.take(slice(0, 20)), None, 0.99, uncertainty_head=False)
    assert few.answering.conformal is None
    assert "20 validation images are too few for a coverage of 0.99" in few.sentences[0]
