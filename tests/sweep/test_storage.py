"""The database of a study: where it is, and what is said where it cannot be opened."""

from __future__ import annotations

import pytest

from astroclf.errors import SweepError
from astroclf.sweep.storage import absolute_storage
from astroclf.sweep.study import SharedStudy
from tests.sweep.test_study import opened


def test_a_database_that_cannot_be_opened_is_one_clear_error(tmp_path):
    (tmp_path / "optuna.db").write_text("no database, but a text of more than a hundred characters" * 3)
    with pytest.raises(SweepError, match=r"hydra\.sweeper\.storage"):
        opened(tmp_path)
    with pytest.raises(SweepError, match=r"postgresql://me:\*\*\*@"):
        SharedStudy("postgresql://me:secret@localhost:1/none", "night", ["maximize"], tmp_path)


def test_storage_names_do_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute_storage("sqlite:///a/b.db") == f"sqlite:///{tmp_path}/a/b.db"
    assert absolute_storage("postgresql://host/db") == "postgresql://host/db"
