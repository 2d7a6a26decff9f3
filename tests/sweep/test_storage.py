"""The database of a study: where it is, and what is said where it cannot be opened."""

from __future__ import annotations

import pytest
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import OperationalError

from astroclf.errors import SweepError
from astroclf.sweep.storage import _asked_again, _PatientStorage, absolute_storage
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


def test_what_was_asked_as_the_connection_broke_is_asked_again_and_other_errors_are_not():
    """Of PostgreSQL; the real thing is in tests/end_to_end/test_postgres.py."""
    broken = StorageInternalError("as Optuna says it")
    broken.__cause__ = OperationalError("SELECT 1", {}, Exception("server closed"), connection_invalidated=True)
    answers: list[Exception | int] = [broken, 7]

    def method(storage: object) -> int:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert _asked_again(method)(None) == 7
    answers[:] = [broken, broken]
    with pytest.raises(StorageInternalError):
        _asked_again(method)(None)
    answers[:] = [OperationalError("SELECT 1", {}, Exception("no such table")), 7]
    with pytest.raises(OperationalError):
        _asked_again(method)(None)
    assert _PatientStorage.get_trial is not RDBStorage.get_trial
