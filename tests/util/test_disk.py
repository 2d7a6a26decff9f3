"""A disk that refuses is known by any error, and costs a log its lines but no work."""

from __future__ import annotations

import errno
import logging
import sqlite3
from pathlib import Path

import pytest

from astroclf.errors import AstroclfError
from astroclf.util.atomic import atomic_path
from astroclf.util.disk import in_one_paragraph, why_refused
from astroclf.util.logs import LogFile

FULL = OSError(errno.ENOSPC, "No space left on device", "/data/x.npy")


def wrapped(error: Exception) -> Exception:
    """The error of a library that was raised while it handled another."""
    try:
        try:
            raise error
        except type(error):
            raise RuntimeError("unexpected pos 72297472 vs 72297360")  # noqa: B904  # as torch.save does
    except RuntimeError as outer:
        return outer


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (FULL, "the disk is full"),
        (wrapped(FULL), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system", "x"), "the file system is read-only"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "your disk quota is used up"),
        (sqlite3.OperationalError("database or disk is full"), "the disk is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "the file system is read-only"),
        (
            OSError("Can't write data (file write failed: errno = 28, error message = 'No space left')"),
            "the disk is full",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), None),
        (ValueError("full"), None),
    ],
)
def test_why_a_disk_refused_is_told_from_any_error(error, reason):
    assert why_refused(error) == reason
    assert (in_one_paragraph(error) is None) == (reason is None)


def test_the_paragraph_names_the_file_and_what_to_do():
    assert str(in_one_paragraph(wrapped(FULL))).startswith(
        "Could not write /data/x.npy: the disk is full. Free some space"
    )
    read_only = in_one_paragraph(OSError(errno.EROFS, "Read-only file system", "x"))
    assert "Free" not in str(read_only)
    assert "Choose a folder that you may write to" in str(read_only)


def test_the_reason_is_looked_for_before_room_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 0})

    def free_while_it_lies_there(folder: Path) -> type:
        usage.free = 0 if any(tmp_path.glob(".*.tmp*")) else 1 << 30
        return usage

    monkeypatch.setattr("shutil.disk_usage", free_while_it_lies_there)
    with pytest.raises(AstroclfError, match="the disk is full"), atomic_path(tmp_path / "x.h5") as temporary:
        temporary.write_bytes(b"half")
        raise RuntimeError("a library that says nothing of the disk")
    assert not any(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("path", ["/dev/full", "/proc/no/such/train.log"])
def test_a_log_file_that_loses_lines_says_so_once_and_raises_nothing(path, caplog, capfd):
    handler = LogFile(path, delay=True, encoding="utf-8")
    logger = logging.getLogger("astroclf.test_disk")
    logger.addHandler(handler)
    try:
        for number in range(3):
            logger.warning("line %d", number)
    finally:
        logger.removeHandler(handler)
        handler.close()
    assert [record.message for record in caplog.records if "lacks lines" in record.message] == [
        f"{path} lacks lines from here on: "
        + ("No space left on device." if path == "/dev/full" else "No such file or directory.")
    ]
    assert "Traceback" not in capfd.readouterr().err
