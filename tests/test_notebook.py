"""experiments/analysis.ipynb: it is kept clean, names what there is, and runs from top to bottom."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[1] / "experiments" / "analysis.ipynb"
CELLS: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
SOURCES = ["".join(cell["source"]) for cell in CELLS if cell["cell_type"] == "code"]


def imported(module: str, name: str) -> Any:
    """Import what ``from module import name`` gives."""
    found = importlib.import_module(module)
    return getattr(found, name) if hasattr(found, name) else importlib.import_module(f"{module}.{name}")


def test_it_is_kept_without_outputs_and_without_the_paths_of_a_machine():
    assert not any(cell["outputs"] or cell["execution_count"] for cell in CELLS if cell["cell_type"] == "code")
    assert not re.search(r"/(home|tmp|Users|work|root)\b", NOTEBOOK.read_text(encoding="utf-8"))


def test_everything_that_it_takes_from_astroclf_is_there():
    nodes = [node for source in SOURCES for node in ast.walk(ast.parse(source))]
    taken: dict[str, Any] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("astroclf"):
            taken |= {alias.name: imported(str(node.module), alias.name) for alias in node.names}
        elif isinstance(node, ast.Import):
            ours = [alias.name for alias in node.names if alias.name.startswith("astroclf")]
            taken |= {name: importlib.import_module(name) for name in ours}
    used = [node for node in nodes if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)]
    missing = [f"{node.value.id}.{node.attr}" for node in used if node.value.id in taken  # type: ignore[attr-defined]
               and not hasattr(taken[node.value.id], node.attr)]  # type: ignore[attr-defined] # fmt: skip
    assert len(taken) > 20
    assert missing == []


@pytest.mark.slow
def test_it_runs_from_top_to_bottom_on_the_champion_of_a_small_training(tmp_path, clean_environment):
    from nbclient import NotebookClient  # the tests' own dependency, which only this one needs
    from nbformat import read
    from nbformat.v4 import new_code_cell

    data = ["dataset=galaxy10_sim", "dataset.samples=200", "dataset.image_size=32"]
    options = ["backbone=custom6conv", "trainer.epochs=1", "trainer.device=cpu", "trainer.precision=fp32"]
    for command in (["train", *data, *options], ["promote", "galaxy10_sim", "1", "action=champion", "reason='a test'"]):
        typed = [sys.executable, "-m", f"astroclf.{command[0]}", *command[1:]]
        subprocess.run(typed, cwd=tmp_path, env=clean_environment, check=True, capture_output=True)

    notebook = read(NOTEBOOK, as_version=4)
    place = next(place for place, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", ()))
    changed = new_code_cell(f"PROJECT = {str(tmp_path)!r}\nDATA = {data!r}")
    notebook.cells.insert(place + 1, changed)  # the other values are right as they stand
    NotebookClient(notebook, timeout=300).execute(env=clean_environment)

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    text = "".join(output.get("text", "") for output in outputs)
    assert len(pictures) == 9
    assert "the test split of the data set that the model was trained on" in text
    assert "have the label of most of their neighbours" in text
