from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest
from rich.console import Console, RenderableType

from astroclf.errors import TrackingError
from astroclf.registry import versions as registered_model
from astroclf.registry.decision import (
    Condition,
    Decision,
    carry_out,
    promote,
    recorded,
    roll_back,
    version_to_beat,
)
from astroclf.registry.history import history
from astroclf.registry.versions import (
    CHALLENGER,
    CHAMPION,
    RegisteredModel,
    registered_names,
)
from astroclf.tracking.client import connect

NewModel = Callable[..., RegisteredModel]


@pytest.fixture
def new_model(uri: str, request: pytest.FixtureRequest) -> Iterator[NewModel]:
    """Makes a registered model with so many versions that nobody has decided about."""
    client, numbers, names = connect(uri), count(), []

    def make(versions: int, name: str = "") -> RegisteredModel:
        names.append(name or f"{request.node.name} {next(numbers)}".replace("[", " ").replace("/", " "))
        client.create_registered_model(names[-1])
        for _ in range(versions):
            client.create_model_version(names[-1], "file:///nowhere", description="A network.")
        return RegisteredModel(uri, names[-1])

    yield make
    for name in names:
        client.delete_registered_model(name)


def shown(text: RenderableType) -> str:
    console = Console(width=140, file=io.StringIO(), record=True)
    console.print(text)
    return console.export_text()


def decision(alias: str, champion_then: int | None = None, **options: Any) -> Decision:
    conditions = (Condition("reproduced", True, "to the bit"), Condition("better", None, "there is no champion"))
    return Decision(alias, "because", champion_then, champion_then, conditions, **options)


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
    assert [condition.passed for condition in found.conditions] == [True, None, None, None]
    assert found.time == made.time.replace(microsecond=0)
    assert version.aliases == (CHAMPION,)
    assert version.tags["promotion.difference"] == "+0.0210"
    assert version.tags["promotion.condition.reproduced"] == "passed: to the bit"
    assert version.description.startswith("A network.\n\n**Promotion gate, ")
    assert "| repeats its predictions | passed | to the bit |" in version.description
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


def test_rolling_back_goes_one_champion_further_each_time(new_model: NewModel) -> None:
    model = new_model(4)
    for number, previous in ((1, None), (2, 1), (3, 2)):
        carry_out(model, number, decision(CHAMPION, previous))
    assert roll_back(model, "calls trails mergers") == (3, 2)
    assert "rolled back to version 2: calls trails mergers" in model.version(3).tags["promotion.by_hand"]
    assert "rolled back from version 3" in model.version(2).description
    assert recorded(model.version(3)).alias == CHAMPION, "what the gate said stays"  # type: ignore[union-attr]
    carry_out(model, 4, decision(CHAMPION, 2))
    assert roll_back(model, "no better") == (4, 2)
    assert roll_back(model, "nor this") == (2, 1)
    with pytest.raises(TrackingError, match="no earlier champion to go back to"):
        roll_back(model, "there is nothing left")
    assert model.holder(CHAMPION) == 1
    assert [(move.how, move.version, move.previous) for move in model.moves()] == [
        ("gate", 1, None), ("gate", 2, 1), ("gate", 3, 2), ("rollback", 2, 3), ("gate", 4, 2), ("rollback", 2, 4),
        ("rollback", 1, 2),
    ]  # fmt: skip


def test_promoting_by_hand_is_remembered_with_its_reason(new_model: NewModel) -> None:
    model = new_model(2)
    carry_out(model, 1, decision(CHAMPION))
    assert promote(model, 2, "better on faint galaxies [seen]") == 1
    move = model.moves()[-1]
    assert (move.version, move.previous, move.how, move.reason) == (2, 1, "by hand", "better on faint galaxies [seen]")
    assert "after version 1: better on faint" in model.version(2).tags["promotion.by_hand"]
    with pytest.raises(TrackingError, match="is champion already"):
        promote(model, 2, "again")
    with pytest.raises(TrackingError, match=r"has no version 9. Versions: 2, 1"):
        promote(model, 9, "a slip of the finger")
    assert len(model.moves()) == 2


def test_deleted_champions_are_passed_over(new_model: NewModel, uri: str) -> None:
    model, client = new_model(4), connect(uri)
    for number, previous in ((1, None), (2, 1), (3, 2)):
        carry_out(model, number, decision(CHAMPION, previous))
    client.delete_model_version(model.name, "3")
    assert model.holder(CHAMPION) is None
    rival = version_to_beat(model, 4)
    assert rival is not None
    assert rival.number == 2, "the last champion that is left is still the one to beat"
    client.delete_model_version(model.name, "2")
    assert roll_back(model, "both are gone") == (None, 1)
    client.delete_model_version(model.name, "1")
    assert version_to_beat(model, 4) is None
    assert [move.version for move in model.moves()] == [1, 2, 3, 1], "the record outlives the versions"


def test_an_alias_that_was_moved_in_mlflow_counts(new_model: NewModel, uri: str) -> None:
    model = new_model(3)
    carry_out(model, 1, decision(CHAMPION))
    connect(uri).set_registered_model_alias(model.name, CHAMPION, "2")
    rival = version_to_beat(model, 3)
    assert rival is not None
    assert rival.number == 2
    assert roll_back(model, "who did that?") == (2, 1)


def test_tags_that_people_changed_break_nothing(new_model: NewModel, uri: str) -> None:
    model, client = new_model(1), connect(uri)
    carry_out(model, 1, decision(CHAMPION, numbers={"difference": "+0.0210"}))
    client.set_registered_model_tag(model.name, "champion.note", "ask Bob")
    client.set_model_version_tag(model.name, "1", "promotion.time", "yesterday")
    client.delete_model_version_tag(model.name, "1", "promotion.champion_then")
    client.set_model_version_tag(model.name, "1", "promotion.difference", "a lot")
    assert len(model.moves()) == 1
    found = recorded(model.version(1))
    assert found is not None
    assert found.time == model.version(1).created
    assert "a lot" in shown(history(model))


def test_one_decides_at_a_time(new_model: NewModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = new_model(1)
    inside = threading.Event()
    leave = threading.Event()

    def decide() -> None:
        with RegisteredModel(model.uri, model.name).locked():
            inside.set()
            leave.wait(30)

    other = threading.Thread(target=decide)
    other.start()
    assert inside.wait(30)
    monkeypatch.setattr(registered_model, "LOCK_SECONDS", 0.05)
    with pytest.raises(TrackingError, match=r"deciding about a champion.*promotion\.lock"):
        promote(model, 1, "in the middle of another's decision")
    leave.set()
    other.join()
    promote(model, 1, "afterwards")
    assert model.holder(CHAMPION) == 1


def test_names_that_do_not_exist_are_answered_with_the_nearest(new_model: NewModel, uri: str) -> None:
    model = new_model(1, "bob's galaxies")
    assert [version.number for version in model.versions()] == [1]
    assert registered_names(uri) == ["bob's galaxies"]
    with pytest.raises(TrackingError, match=r"no registered model 'bobs galaxies'.*Did you mean .bob's galaxies"):
        RegisteredModel(uri, "bobs galaxies")


def test_all_versions_are_found_page_by_page(new_model: NewModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registered_model, "_PAGE_SIZE", 2)
    assert [version.number for version in new_model(5).versions()] == [5, 4, 3, 2, 1]
