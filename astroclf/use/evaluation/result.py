"""What came of one evaluation, and how ``metrics.json`` names it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from astroclf.evaluation.answering import answer_metrics
from astroclf.evaluation.assessment import Assessment, assess
from astroclf.evaluation.compare import Comparison
from astroclf.evaluation.doubt import DoubtScore, doubt_measures, doubt_scores
from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.orientation import Orientation
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.shift import Shift
from astroclf.use.evaluation.images import Chosen


@dataclass(frozen=True)
class CommonClass:
    """A class that classes of model and data are brought to.

    Attributes
    ----------
    name
        None: these are left out.
    of_model, of_data
        What is brought to it; one of them may be empty.
    images
        How many images have it.
    """

    name: str | None
    of_model: Sequence[str]
    of_data: Sequence[str]
    images: int


@dataclass(frozen=True)
class Evaluation:
    """What came of one evaluation.

    Attributes
    ----------
    model, data
        What was evaluated, and on what, as the user named them.
    predictions
        Labelled, in the classes that are compared.
    before
        What the network itself said of the same images, before calibration.
    chosen
        On which images, and why these.
    assessment
        The figures, with their intervals.
    doubt
        How well each measure of doubt finds the wrong answers.
    turned
        What turning the images does; None where that was not asked for.
    comparisons
        With each of the other models.
    common
        What was brought together, where classes were.
    shift
        How far the images are from those that the model was trained on; None where it does not know these.
    notes
        What must be known beside the figures; empty where nothing must.
    """

    model: str
    data: str
    predictions: Predictions
    before: Predictions
    chosen: Chosen
    assessment: Assessment
    doubt: list[DoubtScore]
    turned: Orientation | None
    comparisons: list[Comparison]
    common: list[CommonClass]
    shift: Shift | None
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        model: str,
        data: str,
        predictions: Predictions,
        before: Predictions,
        chosen: Chosen,
        *,
        turned: Orientation | None,
        comparisons: Sequence[Comparison],
        common: Sequence[CommonClass],
        shift: Shift | None,
        notes: Sequence[str],
    ) -> Evaluation:
        """Judge labelled predictions."""
        doubt = doubt_scores(doubt_measures(predictions), ~predictions.right)
        return cls(
            model,
            data,
            predictions,
            before,
            chosen,
            assess(predictions),
            doubt,
            turned,
            list(comparisons),
            list(common),
            shift,
            tuple(notes),
        )

    @property
    def is_calibrated(self) -> bool:
        """Whether the model answers anything else than its network says."""
        return not np.array_equal(self.before.probabilities, self.predictions.probabilities)

    def metrics(self) -> dict[str, Any]:
        """Return what ``metrics.json`` holds: as that of a run, ``test/accuracy``, …, and what it is about."""
        figures: dict[str, Any] = {
            **answer_metrics(self.before, self.predictions),
            **intervals_and_baselines(self.predictions),
            **self.assessment.metrics(),
            "images": len(self.predictions),
        }
        for score in self.doubt:
            figures |= {f"doubt/{score.name}/auroc": score.auroc, f"doubt/{score.name}/gain": score.gain}
        if self.turned is not None:
            figures |= {
                "turned/images": self.turned.images,
                "turned/unsteady": self.turned.unsteady_share,
                "turned/changed": self.turned.changed,
                "turned/gain_of_eight_views": self.turned.gain.difference,
            }
        if self.predictions.unlike_training is not None:
            figures["unlike_training"] = float(self.predictions.unlike_training.mean())
        found: dict[str, Any] = {f"test/{name}": value for name, value in figures.items()}
        if self.shift is not None:
            found |= {f"shift/{name}": value for name, value in self.shift.metrics().items()}
        for comparison in self.comparisons:
            found |= {f"against/{comparison.name}/{name}": value for name, value in comparison.metrics().items()}
        return {
            **found,
            "run/model": self.model,
            "run/data": self.data,
            "run/images": self.chosen.said,
            "run/notes": list(self.notes),
            "run/test_fingerprint": self.chosen.fingerprint,
        }
