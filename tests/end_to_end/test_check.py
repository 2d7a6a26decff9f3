"""``python -m astroclf.check`` as it is typed: what it prints, leaves and ends with."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.audit.planted import SIDE, plant_faults, write_clean


@pytest.fixture
def check(tmp_path: Path, clean_environment: dict[str, str]) -> Callable[..., subprocess.CompletedProcess]:
    def run_check(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-m", "astroclf.check", *arguments],
            cwd=tmp_path, env=clean_environment, capture_output=True, text=True, check=False, timeout=120,
        )  # fmt: skip

    return run_check


def test_a_faulty_data_set_ends_with_2_and_the_next_check_decodes_nothing(check, tmp_path):
    write_clean(tmp_path / "sky", each=10)
    plant_faults(tmp_path / "sky")
    arguments = ("dataset=astro8", "dataset.path=sky", "dataset.classes=found", f"dataset.image_size={SIDE}")
    done = check(*arguments)
    assert done.returncode == 2, done.stderr
    assert "Preparing images" in done.stderr
    for text in ("Truncated files", "star/empty.png", "Near duplicates", "report.html", "exit status 2"):
        assert text in done.stdout, text
    (folder,) = (tmp_path / "experiments" / "checks" / "astro8").iterdir()
    assert {path.name for path in folder.iterdir()} == {"report.html", "check.json", "check.log"}
    saved = json.loads((folder / "check.json").read_text(encoding="utf-8"))
    assert saved["command"] == f"python -m astroclf.check {' '.join(arguments)}"
    again = check(*arguments, "dataset.on_error=skip", "hydra.run.dir=again")
    assert again.returncode == 1, again.stderr
    assert "Preparing images" not in again.stderr
    assert json.loads((tmp_path / "again" / "check.json").read_text(encoding="utf-8"))["status"] == 1


def test_a_clean_data_set_ends_with_0(check):
    done = check("dataset.samples=60", "dataset.image_size=32")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "exit status 0" in done.stdout


@pytest.mark.parametrize(
    ("argument", "says"),
    [
        ("dataset.pth=sky", "Did you mean 'dataset.path'?"),
        ("dataset=astro9", "There is no dataset called 'astro9'"),
        ("modle=models:/galaxy10/1", "'model'"),
        ("model=nowhere", "There is no model nowhere"),
    ],
)
def test_what_keeps_a_check_from_its_end_is_no_warning(typed, tmp_path, argument, says):
    done = typed(f"astroclf check {argument}")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("experiments/**/*.json"))


def test_the_help_names_its_keys_and_statuses(typed):
    done = typed("astroclf check --help")
    assert done.returncode == 0
    for text in (
        "model=null",
        "trainer.num_workers=null",
        "Exit status: 0 clean, 1 warnings, 2 errors",
        "dataset=galaxy10",
    ):
        assert text in done.stdout, text
    assert "optimizer" not in done.stdout
