"""What becomes of printed text on terminals of other encodings, in closed pipes and on full disks."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroclf.util.output import encodable, unfailing_output

ANY_TEXT = st.text(st.characters())  # halves of surrogate pairs too: a file's name that is no UTF-8


@given(ANY_TEXT, st.sampled_from(["ascii", "latin-1", "cp1252", "koi8-r", "shift_jis", "utf-8"]))
def test_any_text_can_be_printed_in_any_encoding(text: str, encoding: str) -> None:
    encodable(text, encoding).encode(encoding)


@given(st.text(st.characters(codec="koi8-r")))
def test_what_an_encoding_has_stays_as_it_is(text: str) -> None:
    assert encodable(text, "koi8-r") == text


def test_typography_becomes_its_like_in_ascii_and_letters_become_escapes() -> None:
    assert encodable("3 × σ – …", "ascii") == "3 x \\u03c3 - ..."


def test_a_process_prints_what_its_terminal_cannot_show(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", terminal)
    with unfailing_output() as output:
        print("星系")
    assert terminal.buffer.getvalue() == b"\\u661f\\u7cfb\n"  # type: ignore[attr-defined]
    assert not output.fault


def test_the_streams_of_a_notebook_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = io.StringIO()
    monkeypatch.setattr(sys, "stdout", cell)
    with unfailing_output():
        assert sys.stdout is cell


def test_a_process_without_a_stdout_prints_in_vain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    with unfailing_output() as output:
        print("nobody hears it")
    assert not output.fault
    assert sys.stdout is None


PRINTS = """\
import sys
from astroclf.util.output import unfailing_output
with unfailing_output() as output:
    for _ in range(9):
        print("x" * 65536)  # more than a pipe holds
    print(output.fault or "none", file=sys.stderr)
print("after")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize(
    ("where", "fault"), [("| head -c 1 >/dev/null", "none"), ("> /dev/full", "No space left on device")]
)
def test_printing_does_not_raise_and_a_reader_that_went_away_is_no_fault(
    where: str, fault: str, shell: Callable[..., subprocess.CompletedProcess]
) -> None:
    done = shell(f"{sys.executable} -c '{PRINTS}' {where}")
    assert done.stderr.splitlines()[0] == fault
    assert "Traceback" not in done.stderr.splitlines()[0]


def test_what_is_printed_to_a_file_is_utf8(tmp_path: Path, clean_environment: dict[str, str]) -> None:
    code = "import sys\nfrom astroclf.util.output import print_to_file\nprint_to_file(sys.argv[1])\nprint('σ \\udcff')"
    environment = clean_environment | {"PYTHONIOENCODING": "ascii"}
    subprocess.run([sys.executable, "-c", code, tmp_path / "log"], env=environment, check=True)
    assert (tmp_path / "log").read_text(encoding="utf-8") == "σ \\udcff\n"
