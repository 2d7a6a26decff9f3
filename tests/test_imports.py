"""Imports stand at the top of a file and go downward only; the lower rooms need nothing but torch, numpy and OpenCV.

Two imports are not read from the source, since their names are data: a verb (`cli.verbs`), and the class that a config
names (`settings.components`).
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import astroclf

PACKAGE = Path(astroclf.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
FRONT_DOORS = {
    "train", "evaluate", "predict", "explain", "export", "check", "prepare", "stores", "simulate", "find_lr", "promote",
    "runs", "explore", "pick", "pretrain", "doctor",
}  # fmt: skip
FLOORS = (
    ("errors",), ("util",), ("settings", "tracking"), ("data",), ("simulation", "models"), ("losses",), ("evaluation",),
    ("config", "engine", "inference"), ("registry",), ("run",), ("audit", "use"), ("sweep",), ("cli",),
    sorted(FRONT_DOORS), ("__init__", "__main__"),
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
WITHOUT_HYDRA = ("util", "settings", "simulation", "data", "models", "losses", "engine", "evaluation", "inference")


class Import(NamedTuple):
    """One import of a module, `astroclf` modules by the name of their file."""

    name: str
    line: int
    when: str  # "start" of the process; for "types" alone; "lazy", on first use; at a "call" of a function


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@cache
def imports(path: Path) -> list[Import]:
    return list(_imports(ast.parse(path.read_text()), "start"))


def _imports(node: ast.AST, when: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert child.level == 0, "imports name their module in full"
            for alias in child.names:
                inner = f"{child.module}.{alias.name}"
                yield Import(inner if inner in MODULES else str(child.module), child.lineno, when)
        elif isinstance(child, ast.Call) and ast.unparse(child.func).split(".")[-1] in ("lazy_import", "import_module"):
            if isinstance(child.args[0], ast.Constant):
                lazy = when == "start" and ast.unparse(child.func) == "lazy_import"
                yield Import(str(child.args[0].value), child.lineno, "lazy" if lazy else "call")
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _imports(child, "call")
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from _imports(ast.Module(child.body, []), "types")
            yield from _imports(ast.Module(child.orelse, []), when)
        else:
            yield from _imports(child, when)


def short(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def room(name: str) -> str:
    """Return the room or front door of a module: `data` of `astroclf.data.loader`, `train` of `astroclf.train`."""
    return name.split(".")[1] if "." in name else "__init__"


def ours(path: Path) -> list[Import]:
    return [found for found in imports(path) if found.name.split(".")[0] == "astroclf"]


def test_nothing_lies_loose_beside_the_front_doors():
    beside = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "errors"}
    assert beside <= FRONT_DOORS
    assert {path.stem for path in PACKAGE.glob("*.py") if len(path.read_text().splitlines()) >= 60} <= {"errors"}
    rooms = {path.name for path in PACKAGE.iterdir() if path.is_dir() and any(path.rglob("*.py"))}
    assert rooms <= LEVEL.keys() - FRONT_DOORS


@pytest.mark.parametrize("path", FILES, ids=short)
def test_lower_rooms_import_no_hydra_mlflow_or_optuna(path):
    here = room(module_name(path))
    tops = {found.name.split(".")[0] for found in imports(path)}
    if here in WITHOUT_HYDRA:
        assert not tops & {"hydra", "omegaconf", "mlflow", "optuna"}
    if here not in ("tracking", "registry"):
        assert "mlflow" not in tops
    if here != "sweep":
        assert "optuna" not in tops


@pytest.mark.parametrize("path", FILES, ids=short)
def test_imports_go_downward(path):
    here = room(module_name(path))
    for found in ours(path):
        there = room(found.name)
        assert there == here or LEVEL[there] < LEVEL[here], f"{short(path)}:{found.line} imports {found.name}"


def test_modules_are_imported_at_the_top_or_lazily():
    inside = {f"{short(path)}:{found.line}" for path in FILES for found in imports(path) if found.when == "call"}
    assert sorted(inside) == []


def start_up_graph() -> dict[str, set[str]]:
    """Map each module to those of ours that must be imported before it, packages on their way included."""
    graph: dict[str, set[str]] = {}
    for path in FILES:
        here = module_name(path)
        before = {found.name for found in ours(path) if found.when == "start"}
        packages = {".".join(name.split(".")[:n]) for name in before for n in range(1, name.count(".") + 1)}
        graph[here] = {name for name in packages if not f"{here}.".startswith(f"{name}.")} | before - {here}
    return graph


def unit(name: str) -> str:
    """Return the folder of a module below its room, or the module itself where it lies in the room."""
    return ".".join(name.split(".")[:3])


def circle(graph: dict[str, set[str]]) -> list[str]:
    """Return the names on a circle of `graph`, or nothing."""
    done: set[str] = set()
    trail: list[str] = []

    def visit(name: str) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name in done:
            return []
        trail.append(name)
        for following in sorted(graph.get(name, ())):
            if found := visit(following):
                return found
        done.add(trail.pop())
        return []

    return next((found for name in sorted(graph) if (found := visit(name))), [])


def test_modules_import_each_other_in_no_circle():
    assert not circle(start_up_graph())


def test_folders_of_a_room_import_each_other_in_no_circle():
    folders: dict[str, set[str]] = {}
    for name, before in start_up_graph().items():
        folders.setdefault(unit(name), set()).update(unit(other) for other in before if unit(other) != unit(name))
    assert not circle(folders)


def test_a_circle_is_found():
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert circle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
