"""What a log file shows of work that takes minutes."""

from __future__ import annotations

from astroclf.util import progress
from astroclf.util.progress import ProgressBar


def test_plain_lines_without_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.0)
    with ProgressBar("Preparing images", 2000) as bar:
        bar.advance(1500)
        bar.advance(500)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("Preparing images: 1,500 of 2,000 images, ")
    assert lines[0].endswith(" left")
    assert "done in" in lines[-1]


def test_bytes_of_an_earlier_process_count_as_done(capsys):
    with ProgressBar("Fetching it", 3_000_000, "bytes", done=1_000_000) as bar:
        bar.advance(2_000_000)
    assert capsys.readouterr().err.startswith("Fetching it: 3.0 MB of 3.0 MB, ")


def test_nothing_is_shown_when_not_wanted_or_nothing_was_done(capsys):
    with ProgressBar("Silent", 10, enabled=False) as bar:
        bar.advance(10)
    with ProgressBar("Complete", 10, done=10):
        pass
    assert capsys.readouterr().err == ""
