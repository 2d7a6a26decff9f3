"""What astroclf calls of Hydra without being promised it: a new Hydra that moved one of these fails here, by name."""

from __future__ import annotations

import inspect

import pytest
from hydra._internal.hydra import Hydra
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra

from astroclf.cli.adapter import HydraSession
from astroclf.settings.yaml_files import config_dir


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("run", ["config_name", "task_function", "overrides"]),
        ("multirun", ["config_name", "task_function", "overrides"]),
        ("show_cfg", ["config_name", "overrides", "cfg_type", "package", "resolve"]),
        ("show_info", ["info", "config_name", "overrides"]),
        ("hydra_help", ["config_name", "args_parser", "args"]),
    ],
)
def test_a_private_method_takes_these_arguments_in_this_order(method, arguments):
    assert list(inspect.signature(getattr(Hydra, method)).parameters)[1 : len(arguments) + 1] == arguments


def test_the_parser_of_hydras_options_is_where_it_was():
    assert get_args_parser().parse_args(["--multirun"]).multirun


def test_a_session_finds_composes_and_leaves_hydra_as_it_was():
    with HydraSession.begin("train", "config", [config_dir()]) as session:
        assert isinstance(GlobalHydra.instance().hydra, Hydra)
        assert session.find("dataset/folder.yaml") == config_dir() / "dataset" / "folder.yaml"
        assert session.find("dataset/nothing.yaml") is None
        composed = session.compose(["dataset=folder", "dataset.path=/data/sky"])
        assert composed.dataset.name == "sky"
        assert composed.hydra.job.name == "train"
    assert not GlobalHydra.instance().is_initialized()
