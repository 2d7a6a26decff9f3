"""The command that was typed, as it can be typed again, in each of its forms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = "from astroclf.util.invocation import command_line, program; print(command_line()); print(program('train'))\n"


@pytest.mark.parametrize(
    ("start", "command", "program"),
    [
        (["bin/astroclf", "train"], "astroclf train", "astroclf train"),
        (["-m", "astroclf.train"], "python -m astroclf.train", "python -m astroclf.train"),
        (["-m", "astroclf", "train"], "python -m astroclf train", "python -m astroclf train"),
        (["-W", "ignore", "-m", "astroclf.train"], "python -m astroclf.train", "python -m astroclf.train"),
    ],
)
def test_a_command_can_be_typed_again(tmp_path: Path, start: list[str], command: str, program: str) -> None:
    """In a package of the same name, whose modules only print."""
    root = Path(__file__).parents[2]
    shadow = tmp_path / "astroclf"
    shadow.mkdir()
    (shadow / "__init__.py").write_text(f"__path__.append({str(root / 'astroclf')!r})\n")
    for path in (shadow / "train.py", shadow / "__main__.py", tmp_path / "bin" / "astroclf"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(CODE)
    done = subprocess.run(
        [sys.executable, *start, "dataset=galaxy10", "tracking.run_name=two words"],
        cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout.splitlines() == [f"{command} dataset=galaxy10 'tracking.run_name=two words'", program], (
        done.stderr
    )
