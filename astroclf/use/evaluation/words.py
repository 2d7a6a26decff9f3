"""What was found by an evaluation, in sentences for the terminal and the report."""

from __future__ import annotations

from astroclf.evaluation.compare import Comparison, Difference
from astroclf.evaluation.doubt import BASELINE
from astroclf.evaluation.orientation import Orientation
from astroclf.use.evaluation.result import Evaluation

# By their names in ``metrics.json`` after ``test/``.
TRUST_FIGURES = {
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "calibration error, equal widths (ECE)",
    "ece_equal_mass": "calibration error, equal counts (ECE)",
    "aurc": "area under the risk–coverage curve (AURC)",
    "coverage": "images whose prediction set has the true class",
    "set_size": "classes in a prediction set, on average",
}


def calibration_sentence(evaluation: Evaluation) -> str:
    """Say what calibration does to these images; where there is none, that there is none."""
    if not evaluation.is_calibrated:
        return (
            "The probabilities are the network's own: the model has no calibration. Lower is better, but of coverage."
        )
    before, after = (said.metrics()["ece"] for said in (evaluation.before, evaluation.predictions))
    change = "lowers" if after < before else "does not lower"
    return (
        f"Calibration, fitted on the validation images of the training, {change} the calibration error here: "
        f"{before:.3f} before, {after:.3f} after. Lower is better, but of coverage."
    )


def doubt_sentence(evaluation: Evaluation) -> str:
    """Say what finds the wrong answers, and whether it is worth more than the highest probability.

    Empty where all answers are right, or all wrong.
    """
    if evaluation.doubt:
        each = ", ".join(
            f"{score.name} {score.auroc:.3f}" + ("" if score.name == BASELINE else f" ({score.verdict})")
            for score in evaluation.doubt
        )
        return f"Finds wrong answers, from 0.5 (blind) to 1: {each}."
    wrong, images = int((~evaluation.predictions.right).sum()), len(evaluation.predictions)
    few, what = (wrong, "wrong") if 2 * wrong <= images else (images - wrong, "right")
    if not few:
        return ""
    said = f"{few} of {images:,} answers {'is' if few == 1 else 'are'} {what}"
    return f"{said}: too few to tell which measure of doubt finds the mistakes."


def turned_sentence(turned: Orientation) -> str:
    """Say what turning the images does."""
    return (
        f"Turned and mirrored, {turned.unsteady_share:.1%} of {turned.images:,} images change their label in some "
        f"view. The mean of eight views brings {_points(turned.gain)} of accuracy."
    )


def shift_sentence(evaluation: Evaluation) -> str:
    """Say how far the images are from those that the model was trained on; empty where it does not know these."""
    said = [] if evaluation.shift is None else evaluation.shift.sentences
    unlike = evaluation.predictions.unlike_training
    if unlike is not None:
        said = [*said, f"{unlike.sum():,} of {len(unlike):,} images are unlike anything that the model was trained on."]
    return " ".join(said)


def comparison_sentence(comparison: Comparison) -> str:
    """Say how a model stands beside another one."""
    accuracy, macro_f1 = comparison.differences
    return (
        f"{comparison.verdict[:1].upper()}{comparison.verdict[1:]}: accuracy {accuracy.challenger:.3f} against "
        f"{accuracy.champion:.3f}, {_points(accuracy)}, macro F1 {_points(macro_f1)}, on the same "
        f"{accuracy.images:,} images; {accuracy.only_challenger} only this one gets right, {accuracy.only_champion} "
        f"only the other (McNemar p = {accuracy.p_value:.2g})."
    )


def _points(found: Difference) -> str:
    return f"{100 * found.difference:+.1f} points [{100 * found.low:+.1f}, {100 * found.high:+.1f}]"
