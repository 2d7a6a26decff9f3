"""A registered model: found by its name, with all its versions, and moved by one process at a time."""

from __future__ import annotations

import threading

import pytest

from astroclf.errors import TrackingError
from astroclf.registry import versions as registered_model
from astroclf.registry.by_hand import promote
from astroclf.registry.versions import CHAMPION, RegisteredModel, registered_names
from tests.registry.decided import NewModel


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


def test_there_are_no_models_where_there_is_no_database_and_none_is_made(tmp_path):
    assert registered_names(f"sqlite:///{tmp_path}/new.db") == []
    assert list(tmp_path.iterdir()) == []
