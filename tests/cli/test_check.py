"""``astroclf check``, as a script calls it."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize(("override", "says"), [("dataset.pth=x", "dataset.path"), ("dataset=nothing", "nothing")])
def test_a_check_that_cannot_be_done_is_an_error_and_no_warning(tmp_path, clean_environment, override, says):
    done = subprocess.run(
        [sys.executable, "-m", "astroclf.check", override],
        cwd=tmp_path,
        env=clean_environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
