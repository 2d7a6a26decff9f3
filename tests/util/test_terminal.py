"""What rich makes of names: nothing but what they are."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from rich.table import Table

from astroclf.util.terminal import Plain, console, plain
from astroclf.util.text import visible
from tests.util.nasty_names import ANY_NAME, CONTROLS, NASTY_NAMES


def printed(shown: object, encoding: str = "utf-8") -> str:
    """What a terminal of 1,000 characters gets."""
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    console(file=file, width=1000).print(shown)
    file.flush()
    return file.buffer.getvalue().decode(encoding)  # type: ignore[attr-defined]


def table_of(name: str) -> Table:
    table = Table(title=plain(name))
    table.add_column("class", overflow="fold")
    table.add_column("images")
    table.add_row(Plain(name), "7")
    return table


@given(ANY_NAME)
def test_a_table_has_every_name_as_it_is(name: str) -> None:
    shown = visible(name).strip()
    assert shown in printed(table_of(name))


@pytest.mark.parametrize("name", NASTY_NAMES)
def test_a_title_and_a_line_have_it_too(name: str) -> None:
    assert name in printed(plain(name))
    assert name in printed(name)


@pytest.mark.parametrize("name", CONTROLS)
def test_control_characters_are_shown_and_not_obeyed(name: str) -> None:
    page = printed(table_of(name))
    assert visible(name) in page
    assert all(sign.isprintable() for line in page.splitlines() for sign in line)


def test_columns_stand_below_each_other_in_every_encoding() -> None:
    for encoding in ("ascii", "latin-1", "utf-8"):
        table = table_of("Sb")
        table.add_row(Plain("σπείρα"), "8")
        lines = [line for line in printed(table, encoding).splitlines() if line.strip()]
        assert len({len(line.rstrip()) for line in lines[1:]}) == 1, encoding
    assert "\\u03c3\\u03c0" in printed(table, "ascii")
