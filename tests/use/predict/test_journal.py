"""Rows outlive their process: torn at any byte, what was whole is there, and goes on."""

from __future__ import annotations

from pathlib import Path

import pyarrow
import pytest

from astroclf.errors import ConfigError
from astroclf.use.predict.journal import Journal

SCHEMA = pyarrow.schema([("path", pyarrow.string()), ("p", pyarrow.float32())])
FACTS = {"model": "a", "shard": None}


def batch(*names: str) -> pyarrow.RecordBatch:
    return pyarrow.RecordBatch.from_pydict({"path": list(names), "p": [0.5] * len(names)}, SCHEMA)


def names(journal: Journal) -> list[str]:
    return [name for rows in journal.batches() for name in rows["path"].to_pylist()]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two batches, of two rows and one."""
    path = tmp_path / "deep" / "a.csv.partial"
    with Journal(path, SCHEMA, FACTS) as journal:
        journal.append(batch("a", "b"))
        journal.append(batch("c"))
        assert names(journal) == ["a", "b", "c"]
    return path


def test_torn_anywhere_the_whole_batches_are_kept_and_more_are_added(path):
    whole = path.read_bytes()
    head = len(SCHEMA.with_metadata({b"astroclf": b'{"model": "a", "shard": null}'}).serialize())
    kept = set()
    for end in range(head, len(whole) + 1, 7):
        path.write_bytes(whole[:end])
        with Journal(path, SCHEMA, FACTS) as journal:
            before = names(journal)
            assert before == ["a", "b", "c"][: journal.rows]
            journal.append(batch("d"))
            assert names(journal) == [*before, "d"]
        kept.add(len(before))
    assert kept >= {0, 2}


def test_rows_of_something_else_are_refused_or_thrown_away(path):
    with pytest.raises(ConfigError, match=r"\(model: a there, b now\)"):
        Journal(path, SCHEMA, {**FACTS, "model": "b"})
    with Journal(path, SCHEMA, {**FACTS, "model": "b"}, fresh=True) as journal:
        assert journal.rows == 0
    path.write_text("mine")
    with pytest.raises(ConfigError, match="is in the way"):
        Journal(path, SCHEMA, FACTS)
    assert path.read_text() == "mine"


def test_one_process_at_a_time_adds_rows(path):
    with Journal(path, SCHEMA, FACTS), pytest.raises(ConfigError, match="Another process is writing"):
        Journal(path, SCHEMA, FACTS)
    with Journal(path, SCHEMA, FACTS) as journal:
        assert journal.rows == 3
    assert [file.name for file in path.parent.iterdir()] == [path.name]
