from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from astroclf.errors import AstroclfError
from astroclf.util.atomic import atomic_path, write_text


def test_the_file_appears_only_when_the_block_is_done(tmp_path: Path) -> None:
    target = tmp_path / "new" / "metrics.json"
    with atomic_path(target) as temporary:
        temporary.write_text("{}")
        assert temporary.suffix == ".json"
        assert not target.exists()
    assert target.read_text() == "{}"
    assert [entry.name for entry in target.parent.iterdir()] == ["metrics.json"]


def test_an_error_leaves_the_old_file_and_no_rubbish(tmp_path: Path) -> None:
    target = tmp_path / "history.csv"
    write_text(target, "old")

    def write_half() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyError("a bug")

    with pytest.raises(KeyError):
        write_half()
    assert target.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["history.csv"]


def test_a_folder_is_moved_as_a_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "package") as temporary:
        (temporary / "inner").mkdir(parents=True)
        (temporary / "inner" / "a.txt").write_text("a")
    assert (tmp_path / "package" / "inner" / "a.txt").read_text() == "a"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_clear_paragraph(tmp_path: Path) -> None:
    target = tmp_path / "best.pt"
    write_text(target, "old")
    with (
        pytest.raises(AstroclfError, match=r"best\.pt: the disk is full.*intact"),
        atomic_path(target),
    ):
        Path("/dev/full").write_text("weights")
    assert target.read_text() == "old"


def test_a_path_through_a_file_is_refused_clearly(tmp_path: Path) -> None:
    (tmp_path / "experiments").write_text("a file where a folder should be")
    with pytest.raises(AstroclfError, match="a file, not a folder"):
        write_text(tmp_path / "experiments" / "runs" / "metrics.json", "{}")


def test_an_unreadable_input_of_the_block_keeps_its_own_error(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), atomic_path(tmp_path / "out.csv"):
        raise PermissionError(13, "Permission denied", "/somewhere/else.fits")


def test_a_process_killed_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "last.pt"
    write_text(target, "old")
    code = """
        import sys
        from astroclf.util.atomic import atomic_path
        with atomic_path(sys.argv[1]) as temporary:
            with open(temporary, "w") as file:
                while True:
                    file.write("new" * 1000)
                    file.flush()
                    print("writing", flush=True)
                    if file.tell() > 1_000_000:
                        sys.stdin.read()
    """
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), str(target)],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"writing\n"
    time.sleep(0.05)
    os.kill(child.pid, signal.SIGKILL)
    child.communicate()
    assert target.read_text() == "old"
