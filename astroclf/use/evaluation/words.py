"""What was found by an evaluation, in sentences for the terminal and the report."""

from __future__ import annotations

from astroclf.evaluation.compare import Comparison, Difference
from astroclf.evaluation.doubt import BASELINE
from astroclf.evaluation.orientation import Orientation
from astroclf.use.evaluation.result import Evaluation


def doubt_sentence(evaluation: Evaluation) -> str:
    """Say what finds the wrong answers, and whether it is worth more than the highest probability."""
    best = max(evaluation.doubt, key=lambda score: score.auroc)
    each = ", ".join(
        f"{score.name} {score.auroc:.3f}" + ("" if score.name == BASELINE else f" ({score.verdict})")
        for score in evaluation.doubt
    )
    return f"Finds wrong answers, from 0.5 (blind) to 1: {each}. Best: {best.name}."


def turned_sentence(turned: Orientation) -> str:
    """Say what turning the images does."""
    return (
        f"Turned and mirrored, {turned.unsteady_share:.1%} of {turned.images:,} images change their label in some "
        f"view. The mean of eight views brings {_points(turned.gain)} of accuracy."
    )


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
