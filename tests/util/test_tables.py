"""Tables that people write by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.errors import DataError
from astroclf.util.tables import read_table


def accept(columns: list[str]) -> None:
    assert columns == ["id", "label"]


def test_rows_come_with_their_lines_and_columns_in_lower_case(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text("\ufeff ID,Label\na,star\n\nb,\n", encoding="utf-8")  # as a spreadsheet saves it
    assert list(read_table(path, accept)) == [({"id": "a", "label": "star"}, 2), ({"id": "b", "label": ""}, 4)]


@pytest.mark.parametrize("content", [b"id,label\n\xff\xfe,star\n", b'id,label\n"a,star\n'])
def test_what_is_no_table_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "table.csv").write_bytes(content)
    with pytest.raises(DataError, match=r"table\.csv is not a table of comma-separated values"):
        list(read_table(tmp_path / "table.csv", accept))
    with pytest.raises(DataError, match=r"dataset\.split_file cannot be read: No such file"):
        list(read_table(tmp_path / "typo.csv", accept, called="dataset.split_file"))
