"""The registry in the terminal: every model, the history of one, the decision about a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich import box
from rich.console import Group, JustifyMethod, RenderableType
from rich.table import Table
from rich.text import Text

from astroclf.evaluation.metrics import METRICS, Metric
from astroclf.registry.decision import BY_HAND, NUMBERS, recorded, utc
from astroclf.registry.versions import CHALLENGER, CHAMPION, Move, RegisteredModel, Version
from astroclf.tracking.address import hide_password
from astroclf.util.terminal import Plain, plain

_STYLES = {CHAMPION: "bold green", CHALLENGER: "yellow", True: "green", False: "bold red", None: "dim"}
_DATE_LENGTH = len("2026-11-21")
_ACCURACY, _MACRO_F1 = METRICS["accuracy"], METRICS["macro_f1"]
_RIGHT_ALIGNED, _WRAPPED = (_ACCURACY.label, _MACRO_F1.label, "versions"), ("reason", "", "model")  # columns


def overview(models: Sequence[RegisteredModel]) -> RenderableType:
    """List all models, one line each: versions, champion and challenger."""
    if not models:
        return Text("No model is registered yet: every finished training registers one.")
    table = _table("model", "versions", "champion", _ACCURACY.label, "challenger", "newest")
    for model in models:
        versions = model.versions()
        held = {alias: version for version in versions for alias in version.aliases}
        champion, challenger = held.get(CHAMPION), held.get(CHALLENGER)
        table.add_row(
            Plain(model.name),
            str(len(versions)),
            Text(_number(champion), _STYLES[CHAMPION]),
            _metric(champion, _ACCURACY),
            Text(_number(challenger), _STYLES[CHALLENGER]),
            utc(versions[0].created)[:_DATE_LENGTH] if versions else "–",
        )
    return table


def history(model: RegisteredModel) -> RenderableType:
    """List the versions of a model with their tests, the newest first, and every change of champion."""
    title = plain(f"{model.name} in {hide_password(model.uri)}", "bold")
    versions = _table("version", "alias", _ACCURACY.label, _MACRO_F1.label, "test set", "gain", "registered")
    for version in model.versions():
        decision = recorded(version)
        gain = "–"
        if decision and "difference" in decision.numbers:
            gain = f"{_figure(decision.numbers['difference'], '+z.3f')} over {decision.compared_with}"
        versions.add_row(
            str(version.number),
            _aliases(version),
            _metric(version, _ACCURACY),
            _metric(version, _MACRO_F1),
            version.tags.get("test_fingerprint", "–")[:8],
            gain,
            utc(version.created)[:_DATE_LENGTH],
        )
    moves = model.moves()
    if not moves:
        return Group(title, Text(), versions, Text("\nNo version has been champion yet."))
    return Group(title, Text(), versions, Text("\nChampions\n", "bold"), _moves(moves))


def explanation(model: RegisteredModel, version: Version) -> RenderableType:
    """Explain what the gate decided about a version, with its numbers, and what was done by hand."""
    decision = recorded(version)
    head = plain(f"models:/{model.name}/{version.number}", "bold")
    for alias in version.aliases:
        head.append(f" @{alias}", _STYLES.get(alias, ""))
    facts = f"registered {utc(version.created)}, MLflow run {version.run_id or '–'}"
    parts: list[RenderableType] = [head, Text(facts, "dim")]
    if decision is None:
        parts.append(
            Text("\nThe gate has no decision about it: it was registered by other means, or its run was stopped.")
        )
    else:
        said = f"The gate, {utc(decision.time)}: {decision.alias}. {_sentence(decision.reason)}"
        parts += [Text(), plain(said), Text()]
        conditions = _table("condition", "outcome", "")
        for condition in decision.conditions:
            outcome = Text(condition.outcome, _STYLES[condition.passed])
            conditions.add_row(condition.title, outcome, Plain(condition.said))
        parts.append(conditions)
        if decision.numbers:
            against = f"\nAgainst version {decision.compared_with}\n"
            parts += [Text(against, "bold"), _numbers(decision.numbers)]
    if by_hand := version.tags.get(BY_HAND):
        parts += [Text(), plain(f"By hand: {_sentence(by_hand)}")]
    mine = [move for move in model.moves() if version.number in (move.version, move.previous)]
    if mine:
        parts += [Text("\nAs champion\n", "bold"), _moves(mine)]
    if CHAMPION not in version.aliases:
        command = f"astroclf promote {model.name} {version.number} action=champion reason='…'"
        parts += [Text("\nTo make it champion by hand:", "dim"), plain(f"  {command}", "dim")]
    return Group(*parts)


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, collapse_padding=True)
    for column in columns:
        justify: JustifyMethod = "right" if column in _RIGHT_ALIGNED else "left"
        table.add_column(column, justify=justify, no_wrap=column not in _WRAPPED)
    return table


def _moves(moves: Sequence[Move]) -> Table:
    table = _table("when", "champion", "before", "how", "reason")
    for move in moves:
        before = "–" if move.previous is None else str(move.previous)
        how = move.how if move.how == "gate" else f"{move.how} ({move.who})"
        table.add_row(utc(move.time), str(move.version), before, Plain(how), Plain(move.reason))
    return table


def _numbers(numbers: Mapping[str, str]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for name, label in NUMBERS.items():
        if name in numbers:
            table.add_row(label, Plain(numbers[name]))
    return table


def _aliases(version: Version) -> Text:
    return Text(", ").join(Text(alias, _STYLES.get(alias, "")) for alias in version.aliases)


def _number(version: Version | None) -> str:
    return "–" if version is None else str(version.number)


def _metric(version: Version | None, metric: Metric) -> str:
    return _figure(version.tags.get(f"test/{metric.name}", "–"), ".3f") if version else "–"


def _figure(written: str, form: str) -> str:
    """Write a tag as a figure of three digits; one that holds no number, as it is."""
    try:
        return f"{float(written):{form}}"
    except ValueError:
        return written


def _sentence(said: str) -> str:
    return said if said.endswith((".", "`")) else f"{said}."
