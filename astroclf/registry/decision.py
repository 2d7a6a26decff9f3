"""The gate's decision about a version: what it is made of, how it is carried out, and how it is kept.

A version keeps the gate's decision for good: for people in its description and in two tags (``promotion.decision`` and
``promotion.reason``), for programs in one tag (``promotion.record``, JSON). What people do by hand is written beside it
(``promotion.by_hand``), and into the model's own record of champions.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from astroclf.registry.conditions import CONDITIONS, OUTCOMES, Condition
from astroclf.registry.versions import CHALLENGER, CHAMPION, RegisteredModel, Version
from astroclf.tracking.names import limited_text
from astroclf.util.invocation import user_name

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
_DECISION, _REASON, _RECORD, BY_HAND = (f"promotion.{name}" for name in ("decision", "reason", "record", "by_hand"))
_HEADING = "**Promotion gate"
_SAID_LENGTH = 500  # characters of what is said of a condition in the record: all of it must fit into one tag


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
    record = _record(version)
    return Decision(
        alias=tags[_DECISION],
        reason=tags.get(_REASON, ""),
        champion_then=record.get("champion_then"),
        compared_with=record.get("compared_with"),
        conditions=tuple(_condition(name, record) for name in CONDITIONS),
        numbers={name: str(record[name]) for name in NUMBERS if name in record},
        time=_time(record.get("time", ""), version.created),
    )


def version_to_beat(model: RegisteredModel, number: int) -> Version | None:
    """Return the version that version `number` is measured against; None where there is none.

    It is the champion; without one, the last champion that is left. Where version `number` is champion already, a
    killed process made it that: then it is the one that it was measured against.
    """
    versions = {version.number: version for version in model.versions()}
    champion = model.holder(CHAMPION)
    if champion == number:
        champion = _record(versions[number]).get("compared_with")
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
    record = {
        "time": utc(decision.time),
        "by": f"gate ({user_name()})",
        "champion_then": decision.champion_then,
        "compared_with": decision.compared_with,
        "conditions": {
            condition.name: [condition.outcome, limited_text(condition.said, _SAID_LENGTH)]
            for condition in decision.conditions
        },
        **decision.numbers,
    }
    model.set_tags(number, {_REASON: decision.reason, _RECORD: json.dumps(record, ensure_ascii=False)})
    if decision.alias == CHALLENGER:
        model.set_challenger(number)
    elif not model.set_champion(number, decision.champion_then, "gate", user_name(), decision.reason, decision.time):
        return False
    before = model.version(number).description.partition(_HEADING)[0].rstrip()
    model.set_description(number, f"{before}\n\n{_paragraph(decision)}".lstrip())
    model.set_tags(number, {_DECISION: decision.alias})
    return True


def _paragraph(decision: Decision) -> str:
    conditions = [(each.title, each.outcome, each.said) for each in decision.conditions]
    lines = [f"{_HEADING}, {utc(decision.time)}: {decision.alias}.** {decision.reason}.", ""]
    lines += _table(("condition", "outcome", ""), conditions)
    if decision.numbers:
        numbers = [(label, decision.numbers[name]) for name, label in NUMBERS.items() if name in decision.numbers]
        lines += ["", *_table((f"against version {decision.compared_with}", ""), numbers)]
    return "\n".join(lines)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table in markdown."""
    cells = [[" ".join(cell.split()).replace("|", "&#124;") for cell in row] for row in (header, *rows)]
    lines = [f"| {' | '.join(row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(header)}", *lines[1:]]


def _record(version: Version) -> dict[str, Any]:
    """Return what the gate wrote down for programs; nothing where there is none, or somebody changed it."""
    try:
        record = json.loads(version.tags.get(_RECORD, "{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def _condition(name: str, record: Mapping[str, Any]) -> Condition:
    try:
        outcome, said = record["conditions"][name]
        passed = {words: passed for passed, words in OUTCOMES.items()}[outcome]
    except (KeyError, TypeError, ValueError):  # decided before there was this condition, or changed by hand
        return Condition(name, None, "")
    return Condition(name, passed, str(said))


def _time(written: Any, otherwise: datetime) -> datetime:
    try:
        return datetime.strptime(written, "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
    except (ValueError, TypeError):  # changed by hand
        return otherwise
