"""The promotion gate: a newly registered version becomes champion, or is told why not."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from astroclf.errors import DataError, TrackingError
from astroclf.evaluation.compare import on_the_same_images, paired_bootstrap, recall_losses
from astroclf.evaluation.predictions import Predictions, read_predictions
from astroclf.inference.ensemble import ForMembers
from astroclf.registry.conditions import (
    Condition,
    better_than,
    better_than_guessing,
    enough_images,
    no_class_pays,
)
from astroclf.registry.decision import Decision, carry_out, recorded, version_to_beat
from astroclf.registry.reproduction import picked, reproduces
from astroclf.registry.versions import CHALLENGER, CHAMPION, RegisteredModel, Version
from astroclf.settings.evaluation import PromotionSettings
from astroclf.tracking.address import absolute_uri

if TYPE_CHECKING:
    from astroclf.models.precision import Precision

DECISION_ATTEMPTS = 5  # of deciding again, when the champion changes under our hands (only where a lock does not reach)
PREDICTIONS_FILE = "predictions.csv"
FINGERPRINT_TAG = "test_fingerprint"


def pass_gate(
    uri: str,
    name: str,
    number: int,
    predictions: Predictions,
    pixels_of: Callable[[np.ndarray], ForMembers],
    precision: Precision,
    policy: PromotionSettings,
) -> Decision:
    """Decide whether a registered version becomes champion, and write that down with its numbers.

    A version that has its decision keeps it: calling this again changes nothing.

    Parameters
    ----------
    uri, name, number
        From `registry.register`.
    predictions, pixels_of
        Its test: what it said, and a function that returns the images (uint8) at some places in the same order, as the
        model's `classify` takes them.
    precision
        Device and number format of that test.

    Raises
    ------
    TrackingError
        The database refused.
    """
    model = RegisteredModel(absolute_uri(uri), name)
    if known := recorded(model.version(number)):
        return known
    chosen = picked(len(predictions))
    expected_NA = np.column_stack([predictions.probabilities, predictions.uncertainty])[chosen]
    named = f"models:/{name}/{number}"
    reproduced = reproduces(named, model.uri, pixels_of(chosen), expected_NA, predictions.classes, precision)
    alone = (reproduced, enough_images(predictions, policy), better_than_guessing(predictions, policy))
    with model.locked():
        for _ in range(DECISION_ATTEMPTS):
            decision = _decide(model, number, predictions, alone, policy)
            if carry_out(model, number, decision):
                return decision
    raise TrackingError(
        f"The champion of {name} changed {DECISION_ATTEMPTS} times while models:/{name}/{number} was compared."
    )


def _decide(
    model: RegisteredModel,
    number: int,
    predictions: Predictions,
    alone: tuple[Condition, ...],
    policy: PromotionSettings,
) -> Decision:
    """Decide upon what a version shows alone, and beside the version to beat, where there is one."""
    version, rival, champion = model.version(number), version_to_beat(model, number), model.holder(CHAMPION)
    numbers: dict[str, str] = {}
    if rival is None:
        merits = [f"the first of {model.name}, there is no champion to beat"]
        compared = tuple(Condition(name, None, "there is no champion") for name in ("same_test", "better", "recall"))
    else:
        merits = []
        compared, numbers = compare(model, version, rival, predictions, policy)
    conditions = (*alone, *compared)
    merits += [each.said for each in reversed(conditions) if each.name in ("better", "guessing") and each.passed]
    faults = "; ".join(each.said for each in conditions if each.passed is False)
    return Decision(
        alias=CHALLENGER if faults else CHAMPION,
        reason=", but ".join(filter(None, ("; ".join(merits), faults))),
        champion_then=champion if champion != number else (rival.number if rival else None),
        compared_with=rival.number if rival else None,
        conditions=conditions,
        numbers=numbers,
    )


def compare(
    model: RegisteredModel, version: Version, rival: Version, predictions: Predictions, policy: PromotionSettings
) -> tuple[tuple[Condition, ...], dict[str, str]]:
    """Compare a version with another.

    Returns
    -------
    conditions : tuple of Condition
        Those that need the other version.
    numbers : dict of str to str
        By the names of `NUMBERS`; empty where the two cannot be compared.
    """
    try:
        theirs, ours = _paired(model, version, rival, predictions)
    except DataError as error:
        said = (
            f"cannot be compared with version {rival.number}: {str(error).rstrip('.')}. If it shall be champion all "
            f"the same: `astroclf promote {model.name} {version.number} action=champion reason='…'`"
        )
        skipped = (Condition(name, None, "the two cannot be compared") for name in ("better", "recall"))
        return (Condition("same_test", False, said), *skipped), {}
    found = paired_bootstrap(theirs, ours, metric=policy.metric, interval=policy.interval, resamples=policy.resamples)
    losses = recall_losses(theirs, ours, policy.interval)
    same = f"{found.images} images, fingerprint {version.tags[FINGERPRINT_TAG]}"
    conditions = (
        Condition("same_test", True, same),
        better_than(rival.number, found),
        no_class_pays(losses, policy.max_recall_loss),
    )
    worst = max(losses, key=lambda loss: loss.loss)
    changed = f"{worst.lost} lost and {worst.won} won"
    numbers = {
        "metric": found.metric,
        "value": f"{found.challenger:.4f}",
        "value_to_beat": f"{found.champion:.4f}",
        "difference": f"{found.difference:+z.4f}",
        "interval": f"[{found.low:+z.4f}, {found.high:+z.4f}]",
        "level": f"{found.interval:g}",
        "resamples": str(policy.resamples),
        "share_above_0": f"{found.share_above:.4f}",
        "only_this_right": str(found.only_challenger),
        "only_other_right": str(found.only_champion),
        "images": str(found.images),
        "worst_recall_loss": f"{worst.loss:+z.4f} ({worst.name}: {changed} of {worst.images} images)",
        "max_recall_loss": f"{policy.max_recall_loss:g}",
    }
    return conditions, numbers


def _paired(
    model: RegisteredModel, version: Version, rival: Version, predictions: Predictions
) -> tuple[Predictions, Predictions]:
    """Return the rival's predictions and ours, image by image."""
    prints = version.tags.get(FINGERPRINT_TAG), rival.tags.get(FINGERPRINT_TAG)
    if prints[0] != prints[1] or not prints[0]:
        raise DataError(
            f"it was tested on other images (test fingerprint {prints[0] or 'missing'}; "
            f"version {rival.number}: {prints[1] or 'missing'})"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = model.fetch(rival, PREDICTIONS_FILE, folder)
        try:
            theirs = read_predictions(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), f"its {PREDICTIONS_FILE}")) from error
    return on_the_same_images(theirs, predictions)
