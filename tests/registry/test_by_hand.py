"""People overrule the gate, and what they did is remembered."""

from __future__ import annotations

import pytest

from astroclf.errors import TrackingError
from astroclf.registry.by_hand import promote, roll_back
from astroclf.registry.decision import carry_out, recorded, version_to_beat
from astroclf.registry.versions import CHAMPION
from astroclf.tracking.client import connect
from tests.registry.decided import NewModel, decision


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
