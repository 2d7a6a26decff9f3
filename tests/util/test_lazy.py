"""Modules that are imported when they are first used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from astroclf.util.lazy import lazy_import


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module that nobody has imported."""
    (tmp_path / "never_imported.py").write_text("value = 1\n__version__ = '7'\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "never_imported", raising=False)
    return "never_imported"


def test_a_module_is_imported_on_first_use_and_not_before(fresh):
    module = lazy_import(fresh)
    assert fresh not in sys.modules
    assert (module.value, module.__version__) == (1, "7")
    assert "value" in dir(module)
    assert fresh in sys.modules


def test_what_is_patched_on_either_side_is_seen_on_the_other(fresh, monkeypatch):
    module = lazy_import(fresh)
    monkeypatch.setattr(f"{fresh}.value", 2)
    assert module.value == 2
    monkeypatch.setattr(module, "value", 3)
    assert sys.modules[fresh].value == 3
    monkeypatch.undo()
    assert module.value == 1
    del module.value
    assert not hasattr(sys.modules[fresh], "value")


def test_a_module_that_is_not_there_is_missed_on_first_use():
    module = lazy_import("no_such_module")
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        module.anything  # noqa: B018


def test_a_heavy_library_stays_out_until_it_is_used():
    code = (
        "import sys; from astroclf.util.lazy import lazy_import; torch = lazy_import('torch');"
        "assert 'torch' not in sys.modules; assert torch.tensor(2).item() == 2; assert 'torch' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
