"""How commands are written: with the name that was typed, and so that a shell reads each word again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from astroclf.util.invocation import Command

CODE = "from astroclf.util.invocation import program; print(program('train'))\n"


@pytest.mark.parametrize(
    ("start", "program"),
    [
        (["bin/astroclf", "train"], "astroclf train"),
        (["-m", "astroclf.train"], "python -m astroclf.train"),
        (["-m", "astroclf", "train"], "python -m astroclf train"),
        (["-W", "ignore", "-m", "astroclf.train"], "python -m astroclf.train"),
    ],
)
def test_a_command_has_the_name_that_was_typed(tmp_path: Path, start: list[str], program: str) -> None:
    """In a package of the same name, whose modules only print."""
    root = Path(__file__).parents[2]
    shadow = tmp_path / "astroclf"
    shadow.mkdir()
    (shadow / "__init__.py").write_text(f"__path__.append({str(root / 'astroclf')!r})\n")
    for path in (shadow / "train.py", shadow / "__main__.py", tmp_path / "bin" / "astroclf"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(CODE)
    done = subprocess.run(
        [sys.executable, *start, "dataset=galaxy10"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [program], done.stderr


@settings(max_examples=25)
@example(["a b", 'it\'s "1" $HOME `x` \\', "*", "é 星", "", "two\nlines\t\\'"])
@example([os.fsdecode(b"caf\xe9's"), "\x1b[31m"])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), min_size=1))
def test_a_shell_reads_the_words_of_a_command_again(words):
    line = str(Command("printf '%s\\0'", tuple(words)))
    assert "\n" not in line
    done = subprocess.run(["bash", "-c", os.fsencode(line)], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"})
    assert done.stdout.split(b"\0")[:-1] == [os.fsencode(word) for word in words]
