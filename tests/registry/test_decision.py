"""The gate's decision: written down, read back, and whole whatever is killed."""

from __future__ import annotations

import io
from itertools import count
from typing import Any

import pytest
from rich.console import Console, RenderableType

from astroclf.registry.by_hand import promote
from astroclf.registry.decision import carry_out, recorded, version_to_beat
from astroclf.registry.history import history
from astroclf.registry.versions import CHALLENGER, CHAMPION
from astroclf.tracking.client import connect
from tests.registry.decided import NewModel, decision


def shown(text: RenderableType) -> str:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(text)
    return console.export_text()


def test_a_decision_is_read_back_as_it_was_made(new_model: NewModel) -> None:
    model = new_model(2)
    assert recorded(model.version(1)) is None
    made = decision(CHAMPION, numbers={"difference": "+0.0210", "interval": "[+0.0030, +0.0390]"})
    assert carry_out(model, 1, made)
    version = model.version(1)
    found = recorded(version)
    assert found is not None
    assert (found.alias, found.reason, found.champion_then, found.numbers) == (CHAMPION, "because", None, made.numbers)
    assert found.conditions[0] == made.conditions[0]
    assert [condition.passed for condition in found.conditions] == [True, None, None, None, None, None]
    assert found.time == made.time.replace(microsecond=0)
    assert version.aliases == (CHAMPION,)
    assert sorted(version.tags) == ["promotion.decision", "promotion.reason", "promotion.record"]
    assert version.description.startswith("A network.\n\n**Promotion gate, ")
    assert "| repeats its predictions | passed | to the bit |" in version.description
    assert "| difference | +0.0210 |" in version.description
    assert model.version(2).aliases == ()


def test_the_challenger_is_the_newest_that_did_not_pass(new_model: NewModel) -> None:
    model = new_model(4)
    carry_out(model, 1, decision(CHAMPION))
    carry_out(model, 3, decision(CHALLENGER, 1))
    carry_out(model, 2, decision(CHALLENGER, 1))  # older, and decided later
    assert (model.holder(CHAMPION), model.holder(CHALLENGER)) == (1, 3)
    promote(model, 3, "by eye")
    assert (model.holder(CHAMPION), model.holder(CHALLENGER)) == (3, None)


def test_a_decision_about_another_champion_is_not_carried_out(new_model: NewModel) -> None:
    model = new_model(3)
    carry_out(model, 1, decision(CHAMPION))
    carry_out(model, 2, decision(CHAMPION, 1))
    assert not carry_out(model, 3, decision(CHAMPION, 1))
    assert model.holder(CHAMPION) == 2
    assert recorded(model.version(3)) is None
    assert [move.version for move in model.moves()] == [1, 2]


@pytest.mark.parametrize("alias", [CHAMPION, CHALLENGER])
def test_a_process_killed_between_any_two_writes_ends_as_if_it_had_not_been(
    new_model: NewModel, alias: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    writes = ("set_registered_model_alias", "set_registered_model_tag", "update_model_version", "set_model_version_tag")
    originals = {name: getattr(mlflow.MlflowClient, name) for name in writes}
    for survived in count():
        model = new_model(2)
        carry_out(model, 1, decision(CHAMPION))
        done: list[str] = []
        with monkeypatch.context() as patch:
            for name in writes:

                def write(client: Any, *args: Any, original: Any = originals[name]) -> Any:
                    if len(done) == survived:  # noqa: B023
                        raise KeyboardInterrupt
                    if not str(args[2]).startswith("promotion.") or args[2] == "promotion.decision":
                        done.append(args[2])  # noqa: B023
                    return original(client, *args)

                patch.setattr(mlflow.MlflowClient, name, write)
            try:
                carry_out(model, 2, decision(alias, 1))
            except KeyboardInterrupt:
                killed = True
            else:
                killed = False
        if killed:
            rival = version_to_beat(model, 2)
            assert rival is not None
            assert rival.number == 1, "measured against the same version again"
            assert recorded(model.version(2)) is None
            assert carry_out(model, 2, decision(alias, 1))
        found = model.version(2)
        assert found.aliases == (alias,)
        assert found.description.count("Promotion gate") == 1
        assert [(m.version, m.previous) for m in model.moves()] == [(1, None), (2, 1)][: 1 + (alias == CHAMPION)]
        if not killed:
            break
    assert survived == (4 if alias == CHAMPION else 3)


def test_tags_that_people_changed_break_nothing(new_model: NewModel, uri: str) -> None:
    model, client = new_model(1), connect(uri)
    carry_out(model, 1, decision(CHAMPION, numbers={"difference": "+0.0210"}))
    client.set_registered_model_tag(model.name, "champion.note", "ask Bob")
    assert len(model.moves()) == 1
    for record in ("gone", "[]", '{"time": "yesterday", "difference": "a lot", "conditions": 3}'):
        client.set_model_version_tag(model.name, "1", "promotion.record", record)
        found = recorded(model.version(1))
        assert found is not None
        assert (found.alias, found.reason) == (CHAMPION, "because")
        assert found.time == model.version(1).created
    assert "a lot" in shown(history(model))
