"""The gate's decision about a version: what it is made of, how it is carried out, and how it is kept.

A version keeps the gate's decision in tags (``promotion.*``) and in its description, and keeps it for good: what people
do by hand is written beside it (``promotion.by_hand``), and into the model's own record of champions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from astroclf.registry.versions import CHALLENGER, CHAMPION, RegisteredModel, Version
from astroclf.util.invocation import user_name

CONDITIONS = {
    "reproduced": "repeats its predictions",
    "same_test": "same test images",
    "better": "better than the champion",
    "recall": "no class pays for it",
}
NUMBERS = {
    "metric": "what was compared",
    "value": "the version's",
    "value_to_beat": "the other's",
    "difference": "difference",
    "interval": "interval of the difference",
    "level": "share of the resamples inside",
    "resamples": "resamples of the test images",
    "share_above_0": "share of the resamples above 0",
    "only_this_right": "images that only this version got right",
    "only_other_right": "images that only the other got right",
    "images": "test images",
    "worst_recall_loss": "most recall lost in a class",
    "max_recall_loss": "recall that a class may lose",
}
OUTCOMES = {True: "passed", False: "failed", None: "not checked"}
_DECISION, _REASON, _TIME = "promotion.decision", "promotion.reason", "promotion.time"
_CHAMPION_THEN, _COMPARED_WITH = "promotion.champion_then", "promotion.compared_with"
_CONDITION, _NUMBER, _BY, BY_HAND = "promotion.condition.", "promotion.", "promotion.by", "promotion.by_hand"
_HEADING, _NOBODY = "**Promotion gate", "none"


@dataclass(frozen=True)
class Condition:
    """One condition of the gate, and whether a version meets it.

    Attributes
    ----------
    name
        One of `CONDITIONS`.
    passed
        None where it was not checked.
    said
        What was found, in words, with its figures.
    """

    name: str
    passed: bool | None
    said: str

    @property
    def title(self) -> str:
        """The condition in words."""
        return CONDITIONS[self.name]

    @property
    def outcome(self) -> str:
        """The word for `passed`."""
        return OUTCOMES[self.passed]


@dataclass(frozen=True)
class Decision:
    """What the gate decided about a version.

    Attributes
    ----------
    alias
        ``champion`` or ``challenger``.
    reason
        For people, without a full stop.
    champion_then
        The version that was champion before; None where there was none.
    compared_with
        The version to beat: the champion then, or the last one that is left where there was none.
    numbers
        Those of the comparison, as text, by the names of `NUMBERS`.
    time
        In UTC.
    """

    alias: str
    reason: str
    champion_then: int | None
    compared_with: int | None
    conditions: tuple[Condition, ...]
    numbers: Mapping[str, str] = field(default_factory=dict)
    time: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def sentence(self) -> str:
        """The decision in words, such as ``is now champion: accuracy +2.1 points …``."""
        return f"{'is now champion' if self.alias == CHAMPION else 'stays challenger'}: {self.reason}"


def utc(time: datetime) -> str:
    """Write a time as ``2026-11-21 02:16:10 UTC``."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def recorded(version: Version) -> Decision | None:
    """Read the gate's decision about a version from its tags; None where it has not decided (yet)."""
    tags = version.tags
    if tags.get(_DECISION) not in (CHAMPION, CHALLENGER):
        return None
    conditions = []
    for name in CONDITIONS:
        outcome, _, said = tags.get(_CONDITION + name, "not checked: ").partition(": ")
        conditions.append(Condition(name, {words: passed for passed, words in OUTCOMES.items()}.get(outcome), said))
    return Decision(
        alias=tags[_DECISION],
        reason=tags.get(_REASON, ""),
        champion_then=_number(tags.get(_CHAMPION_THEN)),
        compared_with=_number(tags.get(_COMPARED_WITH)),
        conditions=tuple(conditions),
        numbers={name: tags[_NUMBER + name] for name in NUMBERS if _NUMBER + name in tags},
        time=_time(tags.get(_TIME, ""), version.created),
    )


def version_to_beat(model: RegisteredModel, number: int) -> Version | None:
    """Return the version that version `number` is measured against; None where there is none.

    It is the champion; without one, the last champion that is left. Where version `number` is champion already, a
    killed process made it that: then it is the one that it was measured against.
    """
    versions = {version.number: version for version in model.versions()}
    champion = model.holder(CHAMPION)
    if champion == number:
        champion = _number(versions[number].tags.get(_COMPARED_WITH))
    if champion is None:
        champion = next((former for former in reversed(model.former_champions()) if former != number), None)
    return versions.get(champion) if champion is not None else None


def carry_out(model: RegisteredModel, number: int, decision: Decision) -> bool:
    """Move the alias and write the decision down. Call it under the model's lock.

    The tag ``promotion.decision`` comes last: a process that is killed on the way decides again and repeats each step,
    which changes nothing that was done.

    Returns
    -------
    bool
        False where the champion is another than the one decided upon: decide again.
    """
    model.set_tags(
        number,
        {
            _REASON: decision.reason,
            _TIME: utc(decision.time),
            _BY: f"gate ({user_name()})",
            _CHAMPION_THEN: str(decision.champion_then or _NOBODY),
            _COMPARED_WITH: str(decision.compared_with or _NOBODY),
            **{
                _CONDITION + condition.name: f"{condition.outcome}: {condition.said}"
                for condition in decision.conditions
            },
            **{_NUMBER + key: value for key, value in decision.numbers.items()},
        },
    )
    if decision.alias == CHALLENGER:
        model.set_challenger(number)
    elif not model.set_champion(number, decision.champion_then, "gate", user_name(), decision.reason, decision.time):
        return False
    before = model.version(number).description.partition(_HEADING)[0].rstrip()
    model.set_description(number, f"{before}\n\n{_paragraph(decision)}".lstrip())
    model.set_tags(number, {_DECISION: decision.alias})
    return True


def _paragraph(decision: Decision) -> str:
    rows = [
        f"| {condition.title} | {condition.outcome} | {' '.join(condition.said.split()).replace('|', '&#124;')} |"
        for condition in decision.conditions
    ]
    return "\n".join(
        [
            f"{_HEADING}, {utc(decision.time)}: {decision.alias}.** {decision.reason}.",
            "",
            "| condition | outcome | |",
            "|---|---|---|",
            *rows,
        ]
    )


def _number(written: str | None) -> int | None:
    return int(written) if written and written.isdigit() else None


def _time(written: str, otherwise: datetime) -> datetime:
    try:
        return datetime.strptime(written, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except ValueError:  # changed by hand
        return otherwise
