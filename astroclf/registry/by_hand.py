"""Overrule the gate by hand: another champion, or the one before."""

from __future__ import annotations

from astroclf.errors import TrackingError, WeightsError
from astroclf.registry.decision import champion_before, promote, recorded, roll_back
from astroclf.registry.load import load
from astroclf.registry.versions import RegisteredModel


def make_champion(model: RegisteredModel, number: int, reason: str) -> str:
    """Make a version champion that loads, and return what is to be said about it.

    Raises
    ------
    TrackingError
        There is no such version, it is champion already, or it does not load.
    """
    decision = recorded(model.version(number))
    _refuse_unloadable(model, number)
    previous = promote(model, number, reason)
    before = "there was none before" if previous is None else f"before: version {previous}"
    said = f"The gate had said: {decision.sentence}." if decision else "The gate has no decision about it."
    return (
        f"models:/{model.name}/{number} is now champion; {before}.\n"
        f"By hand: it loads, but it was not compared with another version, nor tested again. {said}"
    )


def restore_champion(model: RegisteredModel, reason: str) -> str:
    """Make the champion before this one champion again, and return what is to be said about it.

    Raises
    ------
    TrackingError
        There was none before, or it does not load.
    """
    _refuse_unloadable(model, champion_before(model))
    previous, number = roll_back(model, reason)
    before = "there was none" if previous is None else f"not version {previous}"
    return f"models:/{model.name}/{number} is champion again, {before}."


def _refuse_unloadable(model: RegisteredModel, number: int) -> None:
    try:
        load(f"models:/{model.name}/{number}", model.uri, device="cpu")
    except WeightsError as error:
        raise TrackingError(
            f"models:/{model.name}/{number} was not made champion: it does not load. {error}"
        ) from error
