"""The names of Optuna and of Hydra's plugin that no documentation promises: which they are, and that they are there."""

from __future__ import annotations

import ast
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import optuna
import pytest

import astroclf.sweep
from astroclf.sweep.private import parse_sweep_syntax

FILES = sorted(Path(astroclf.sweep.__file__).parent.rglob("*.py"))


@pytest.mark.parametrize(
    ("package", "module", "name", "parameters", "user"),
    [
        (
            "hydra-optuna-sweeper", "hydra_plugins.hydra_optuna_sweeper._impl", "create_params_from_overrides",
            ["arguments"], "parse_sweep_syntax",
        ),
        ("optuna", "optuna.trial", "Trial", ["study", "trial_id"], "reopen_trial"),
        ("optuna", "optuna.storages", "BaseStorage.get_study_id_from_name", ["self", "study_name"], "trial_id"),
        (
            "optuna", "optuna.storages", "BaseStorage.get_trial_id_from_study_id_trial_number",
            ["self", "study_id", "trial_number"], "trial_id",
        ),
        ("optuna", "optuna.storages", "BaseStorage.get_trial", ["self", "trial_id"], "SharedStudy.trial"),
        (
            "optuna", "optuna.storages", "BaseStorage.set_trial_user_attr", ["self", "trial_id", "key", "value"],
            "SharedStudy.count_death and .fail",
        ),
    ],
)  # fmt: skip
def test_a_name_that_moved_is_told(package, module, name, parameters, user):
    said = f"{package} {version(package)} has no {module}.{name}({', '.join(parameters)}): {user} is built on it"
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError):
        pytest.fail(said)
    assert list(inspect.signature(found).parameters) == parameters, said


def test_the_plugin_reads_every_form_of_a_search_space():
    lines = [
        "a=1,x", "b=interval(0.5,2)", "c=int(interval(1,9))", "d=tag(log,interval(1e-4,1e-2))", "e=range(1,9,2)", "f=3",
        "~g",
    ]  # fmt: skip
    searched, fixed, removed = parse_sweep_syntax(lines)
    Float, Int = optuna.distributions.FloatDistribution, optuna.distributions.IntDistribution
    assert searched == {
        "a": optuna.distributions.CategoricalDistribution([1, "x"]),
        "b": Float(0.5, 2.0),
        "c": Int(1, 9),
        "d": Float(1e-4, 1e-2, log=True),
        "e": Int(1, 7, step=2),
    }
    assert (fixed, removed) == ({"f": "3"}, ["~g"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_no_other_file_uses_a_private_name_of_a_library(path):
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            names += [*str(node.module).split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [part for alias in node.names for part in alias.name.split(".")]
        elif isinstance(node, ast.Attribute) and ast.unparse(node.value) != "self":
            names.append(node.attr)
    private = {name for name in names if name.startswith("_") and not name.startswith("__")}
    assert path.name == "private.py" or not private
