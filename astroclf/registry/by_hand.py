"""Overrule the gate by hand: another champion, or the one before."""

from __future__ import annotations

from datetime import UTC, datetime

from astroclf.errors import TrackingError, WeightsError
from astroclf.registry.decision import BY_HAND, recorded, utc
from astroclf.registry.load import load
from astroclf.registry.versions import CHAMPION, RegisteredModel, Version
from astroclf.util.invocation import user_name


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


def promote(model: RegisteredModel, number: int, reason: str) -> int | None:
    """Make a version champion by hand, and return which was champion before.

    Raises
    ------
    TrackingError
        There is no such version, it is champion already, or somebody else moved the alias meanwhile.
    """
    with model.locked():
        version, previous, now = model.version(number), model.holder(CHAMPION), datetime.now(UTC)
        if previous == number:
            raise TrackingError(f"models:/{model.name}/{number} is champion already. Nothing was changed.")
        if not model.set_champion(number, previous, "by hand", user_name(), reason, now):
            raise _moved_meanwhile(model)
        said = f"champion since {utc(now)} ({user_name()}), after {_named(previous)}: {reason}"
        _note(model, version, said)
    return previous


def roll_back(model: RegisteredModel, reason: str) -> tuple[int | None, int]:
    """Make the champion before the present one champion again.

    Returns
    -------
    previous : int or None
        The version that was champion until now.
    number : int
        The one that is champion now.

    Raises
    ------
    TrackingError
        There was no other champion, or none that still exists, or somebody else moved the alias meanwhile.
    """
    with model.locked():
        previous, now = model.holder(CHAMPION), datetime.now(UTC)
        number = champion_before(model)
        version = model.version(number)
        if not model.set_champion(number, previous, "rollback", user_name(), reason, now):
            raise _moved_meanwhile(model)
        said = f"champion again since {utc(now)} ({user_name()}), rolled back from {_named(previous)}: {reason}"
        _note(model, version, said)
        if previous is not None:
            said = f"no longer champion since {utc(now)} ({user_name()}), rolled back to version {number}: {reason}"
            _note(model, model.version(previous), said)
    return previous, number


def champion_before(model: RegisteredModel) -> int:
    """Return the version that a rollback would make champion.

    Raises
    ------
    TrackingError
        There is none.
    """
    former = model.former_champions()
    if not former:
        raise TrackingError(
            f"{model.name} has no earlier champion to go back to. Make any version champion with\n"
            f"  astroclf promote {model.name} VERSION action=champion reason='…'"
        )
    return former[-1]


def _refuse_unloadable(model: RegisteredModel, number: int) -> None:
    try:
        load(f"models:/{model.name}/{number}", model.uri, device="cpu")
    except WeightsError as error:
        raise TrackingError(
            f"models:/{model.name}/{number} was not made champion: it does not load. {error}"
        ) from error


def _note(model: RegisteredModel, version: Version, said: str) -> None:
    """Write on the version's page what was done by hand."""
    model.set_tags(version.number, {BY_HAND: said})
    model.set_description(version.number, f"{version.description}\n\n**By hand**: {said}".lstrip())


def _named(number: int | None) -> str:
    return "no champion" if number is None else f"version {number}"


def _moved_meanwhile(model: RegisteredModel) -> TrackingError:
    return TrackingError(
        f"The champion of {model.name} was changed by somebody else at this moment, and not by this command: look "
        f"with `astroclf promote {model.name}`, and try again."
    )
