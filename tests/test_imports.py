"""Imports go downward only, and the lower rooms need nothing but torch, numpy and OpenCV."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import astroclf

PACKAGE = Path(astroclf.__file__).parent
FILES = sorted(path for path in PACKAGE.rglob("*.py"))
LOW = ("util", "settings", "simulation", "data", "models", "losses", "engine", "evaluation")
FLOORS = (
    ("util",), ("settings", "tracking"), ("data",), ("simulation", "models"), ("losses",), ("evaluation",),
    ("config", "engine"), ("registry",), ("run",), ("audit",), ("cli", "sweep"),
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "lazy_import":
            assert isinstance(node.args[0], ast.Constant), "a name that the arrows can be read from"
            names.add(node.args[0].value)
    return names


def room(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_lower_rooms_import_no_hydra_mlflow_or_optuna(path):
    tops = {name.split(".")[0] for name in imported(path)}
    if room(path) in LOW:
        assert not tops & {"hydra", "omegaconf", "mlflow", "optuna"}
    if room(path) not in ("tracking", "registry"):
        assert "mlflow" not in tops
    if room(path) != "sweep":
        assert "optuna" not in tops


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_downward(path):
    here = room(path)
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "astroclf" or here == "" or len(parts) == 1 or parts[1] == "errors":
            continue
        assert parts[1] == here or LEVEL[parts[1]] < LEVEL[here], f"{path.relative_to(PACKAGE)} imports {name}"
