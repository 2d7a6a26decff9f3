"""How what a network says becomes what a model answers: calibrated probabilities, confidence, prediction sets.

The test at the end of a training and the packaged model come through the same object, so that what was tested is what
users get.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from astroclf.errors import ConfigError
from astroclf.evaluation.calibration import Calibration, CalibrationFit, Method, fit_calibration
from astroclf.evaluation.confidence import Confidence, ConfidenceFit, ScaledConfidence, fit_confidence
from astroclf.evaluation.conformal import Conformal, fit_conformal, set_metrics
from astroclf.evaluation.metrics import PROBABILISTIC
from astroclf.evaluation.novelty import NoveltyScale
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.selective import aurc

MIN_IMAGES = 20  # of validation: two in each of the five parts, and as many classes


@dataclass(frozen=True, kw_only=True)
class Answering:
    """What is done to the predictions of a network before anybody sees them; each part is None where there is none.

    Attributes
    ----------
    calibration : Calibration or None
    confidence : NormConfidence or ScaledConfidence or None
        None: the highest of the probabilities is the confidence.
    conformal : Conformal or None
    novelty : NoveltyScale or None
        Of an ensemble alone: the mean of its members' novelties varies less than each of them.
    uncertainty_head : bool
        Whether the network has one, whose uncertainty stays as it is; else it is 1 - confidence.
    """

    calibration: Calibration | None = None
    confidence: Confidence | None = None
    conformal: Conformal | None = None
    novelty: NoveltyScale | None = None
    uncertainty_head: bool = False

    def check(self, classes: int) -> None:
        """Refuse, by a ConfigError, parts that were fitted for more or fewer classes than the model has."""
        parts = {
            "calibration": self.calibration,
            "calibration.confidence": self.confidence,
            "conformal": self.conformal,
        }
        for name, part in parts.items():
            if part is not None and (fault := part.misfit(classes)):
                raise ConfigError(f"'{name}.{fault}")

    def __call__(self, raw: Predictions) -> Predictions:
        """Return the answers that the predictions of the network become."""
        own_NC = raw.probabilities
        answered_NC = own_NC if self.calibration is None else self.calibration(own_NC).astype(own_NC.dtype)
        sets_NC = None if self.conformal is None else self.conformal(answered_NC)
        answers = replace(raw, probabilities=answered_NC, sets=sets_NC)
        if self.novelty is not None and raw.novelty is not None:
            answers = replace(answers, novelty=self.novelty(raw.novelty))
        if self.confidence is not None:
            answers = replace(answers, scores=self.confidence(own_NC, answers.predicted).astype(own_NC.dtype))
        if self.uncertainty_head or (self.calibration is None and self.confidence is None):
            return answers
        return replace(answers, uncertainty=1 - answers.confidence)

    def to_plain(self) -> dict[str, dict[str, Any]]:
        """Return the keys ``calibration`` and ``conformal`` of ``model.json``; a part that there is not is empty."""
        plain = {
            name: asdict(part) if part is not None else {}
            for name, part in (("calibration", self.calibration), ("conformal", self.conformal))
        }
        for name, part in (("confidence", self.confidence), ("novelty", self.novelty)):
            if part is not None:
                plain["calibration"][name] = asdict(part)
        return plain


@dataclass(frozen=True, kw_only=True)
class AnsweringFit:
    """How the predictions of a network become answers, fitted on validation, and what each part brings.

    Attributes
    ----------
    answering : Answering
        With the parts that help beyond doubt.
    images : int
        Of validation.
    calibration : CalibrationFit or None
        None where none was asked for, or none can be fitted.
    confidence : ConfidenceFit or None
        The same.
    sentences : list of str
        What is done to the network's probabilities, in words, and what is not and why.
    """

    answering: Answering
    images: int
    calibration: CalibrationFit | None = None
    confidence: ConfidenceFit | None = None
    sentences: list[str] = field(default_factory=list)

    def figures(self) -> dict[str, float]:
        """Return what ``metrics.json`` says of the fit, by its names after ``calibration/``."""
        found: dict[str, float] = {"images": self.images}
        for prefix, fit in (("", self.calibration), ("confidence_", self.confidence)):
            if fit is not None:
                found |= {f"{prefix}gain": fit.gain, f"{prefix}applied": int(fit.helps)}
                found |= {f"{prefix}gain_low": fit.interval.low, f"{prefix}gain_high": fit.interval.high}
        if self.answering.calibration is not None and not self.answering.calibration.bias:
            found["temperature"] = self.answering.calibration.temperature[0]
        return found


def fit_answering(
    validation: Predictions, method: Method | None, coverage: float | None, *, uncertainty_head: bool
) -> AnsweringFit:
    """Fit all parts on what a network said of the validation images, and keep the parts that help beyond doubt.

    The rule of the prediction sets is fitted on probabilities that were each calibrated without their own image
    (cross-conformal prediction, Vovk 2015, doi:10.1007/s10472-013-9368-4): no images have to be kept apart for it,
    however few there are.

    Parameters
    ----------
    method
        Of calibration; None: the probabilities, and the confidence, stay the network's own.
    coverage
        Of the prediction sets; None: there are none.
    uncertainty_head
        See `Answering`.
    """
    own_NC, labels_N, images = validation.probabilities, validation.truth, len(validation)
    nothing = Answering(uncertainty_head=uncertainty_head)
    if images < MIN_IMAGES or not np.isfinite(own_NC).all():
        why = f"{images} are fewer than {MIN_IMAGES}" if images < MIN_IMAGES else "the network's answers are no numbers"
        said = [f"Nothing is fitted on the validation images, neither calibration nor prediction sets: {why}."]
        return AnsweringFit(answering=nothing, images=images, sentences=said if method or coverage else [])
    said, calibration, confidence = [], None, None
    if method is not None:
        if validation.right.all():
            said.append(f"Not calibrated: of {images} validation images none is classified wrongly.")
        else:
            calibration = fit_calibration(method, own_NC, labels_N)
            said.append(_said_of_calibration(calibration, images))
    used = calibration if calibration is not None and calibration.helps else None
    if method is not None:
        confidence = fit_confidence(own_NC, own_NC if used is None else used.out_of_fold_NC, labels_N)
        if confidence is not None and confidence.helps:
            said.append(_said_of_confidence(confidence))
    conformal = None
    if coverage is not None:
        conformal = fit_conformal(own_NC if used is None else used.out_of_fold_NC, labels_N, coverage)
        if conformal is None:
            said.append(f"No prediction sets: {images} validation images are too few for a coverage of {coverage:g}.")
    answering = replace(
        nothing,
        calibration=used.calibration if used is not None else None,
        confidence=confidence.confidence if confidence is not None and confidence.helps else None,
        conformal=conformal,
    )
    return AnsweringFit(
        answering=answering, images=images, calibration=calibration, confidence=confidence, sentences=said
    )


def answer_metrics(raw: Predictions, answers: Predictions) -> dict[str, float]:
    """Compute what the answers are worth beside the network's own predictions of the same labelled images.

    Beside all of `Predictions.metrics`: ``coverage`` and ``set_size`` (see `set_metrics`); ``aurc``, the area under the
    risk–coverage curve of the confidence; and, of what the network itself said, ``log_loss_raw``, ``brier_raw``,
    ``ece_raw``, ``ece_equal_mass_raw`` and ``aurc_raw`` (of its highest probability).
    """
    own = raw.metrics()
    return {
        **answers.metrics(),
        **set_metrics(answers),
        "aurc": aurc(answers.confidence, answers.right),
        "aurc_raw": aurc(raw.confidence, raw.right),
        **{f"{name}_raw": own[name] for name in PROBABILISTIC},
    }


def _said_of_calibration(fit: CalibrationFit, images: int) -> str:
    temperature = fit.calibration.temperature
    what = f"Temperature {temperature[0]:.3g}" if len(temperature) == 1 else "Vector scaling"
    if fit.helps:
        return f"Calibrated on {images} validation images. {what} lowers the log loss by {fit.gain:.3f} {fit.interval}."
    return (
        f"Not calibrated. {what} would change the log loss of {images} validation images by {-fit.gain:+.3f}; "
        "that it helps is not beyond doubt."
    )


def _said_of_confidence(fit: ConfidenceFit) -> str:
    score = fit.confidence
    how = (
        "a scaling of each class" if isinstance(score, ScaledConfidence) else f"the logits over their {score.norm}-norm"
    )
    low, high = fit.interval
    return (
        f"Confidence comes from {how}: it lowers the area under the risk–coverage curve by {fit.gain:.4f} "
        f"[{low:.4f}, {high:.4f}]."
    )
