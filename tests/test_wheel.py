"""A plain installation, away from the checkout, has all that the commands need."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import astroclf

ROOT = Path(astroclf.__file__).parent.parent


@pytest.mark.slow  # building a wheel fetches the build backend
def test_commands_run_from_an_installed_wheel(tmp_path, clean_environment):
    build = [sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "site"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(installed)
    assert {"conf/config.yaml", "py.typed", "evaluation/report/report.html.j2"} <= {
        str(path.relative_to(installed / "astroclf")) for path in (installed / "astroclf").rglob("*")
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    code = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); import astroclf; "
        f"assert astroclf.__file__.startswith({str(installed)!r}); "
        "from astroclf.__main__ import main; sys.exit(main(['train', '--cfg', 'job']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=elsewhere, env=clean_environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "galaxy10_sim" in done.stdout
