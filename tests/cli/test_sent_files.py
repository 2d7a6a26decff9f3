"""A config that somebody sends chooses settings: not where files go, nor what code runs."""

from __future__ import annotations

import pickle

import pytest
import yaml

from astroclf.cli.adapter import HydraSession
from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.train import main

LOGGING = {"version": 1, "root": {"handlers": ["own"], "level": "INFO"}}
EVIL = {
    "hydra.run.dir": {"run": {"dir": "/evil"}},
    "hydra.sweep.dir": {"sweep": {"dir": "/evil"}},
    "hydra.sweep.subdir": {"sweep": {"subdir": "../../evil"}},
    "hydra.output_subdir": {"output_subdir": "../../evil"},
    "hydra.job_logging": {"job_logging": {"handlers": {"file": {"filename": "/evil.log"}}}},
    "hydra.job_logging.": {"job_logging": {"handlers": {"own": {"()": "os.system", "command": "true"}}}},
    "hydra.hydra_logging": {"hydra_logging": {"handlers": {"own": {"()": "os.system", "command": "true"}}}},
    "hydra.callbacks": {"callbacks": {"own": {"_target_": "astroclf.util.output.print_to_file", "path": "/evil"}}},
    "hydra.launcher": {"launcher": {"_target_": "astroclf.util.output.print_to_file"}},
    "hydra.job": {"job": {"env_set": {"PYTHONPATH": "/evil"}}},
    "hydra.job.name": {"job": {"name": "../../evil"}},
    "hydra.job.chdir": {"job": {"chdir": True}},
    "hydra.overrides": {"overrides": {"hydra": ["hydra.run.dir=/evil"]}},
}


@pytest.fixture
def sent(tmp_path):
    """A folder of yaml files as `--config-dir` has it, with one harmless recipe, and one that is given."""
    (tmp_path / "experiment").mkdir()

    def write(content, name="theirs", package="# @package _global_\n"):
        path = tmp_path / f"{name}.yaml" if "/" in name else tmp_path / "experiment" / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(package + yaml.safe_dump(content))
        return tmp_path

    write({"trainer": {"epochs": 7}}, "harmless")
    return write


def session(folder):
    return HydraSession.begin("train", "config", [config_dir(), folder])


@pytest.mark.parametrize("key", EVIL)
def test_a_recipe_that_names_places_or_code_is_refused_by_its_key(sent, key):
    with session(sent({"hydra": EVIL[key]})) as hydra, pytest.raises(ConfigError, match=f"'{key}.*not astroclf's own"):
        hydra.compose(["experiment=theirs"])


def test_settings_of_a_recipe_are_taken_and_what_is_typed_is_allowed(sent):
    with session(sent({"hydra": {"sweeper": {"n_trials": 3}}})) as hydra:
        composed = hydra.compose(["experiment=harmless", "hydra.run.dir=/mine", "hydra.job_logging.root.level=DEBUG"])
        assert composed.trainer.epochs == 7
        assert composed.hydra.run.dir == "/mine"
        assert hydra.compose(["experiment=theirs"]).hydra.sweeper.n_trials == 3
        assert hydra.compose(["experiment=harmless", "hydra/job_logging=none"]).hydra.job_logging.root is None


def test_a_group_of_hydras_own_that_was_sent_is_refused_though_its_name_was_typed(sent):
    folder = sent(LOGGING | {"handlers": {"own": {"()": "os.system"}}}, "hydra/job_logging/quiet", "")
    with session(folder) as hydra, pytest.raises(ConfigError, match=r"'hydra\.job_logging"):
        hydra.compose(["hydra/job_logging=quiet"])


def test_another_primary_file_is_held_to_the_same(sent, tmp_path, capsys):
    (tmp_path / "mine.yaml").write_text(
        f"defaults: [config, _self_]\nhydra: {{searchpath: ['file://{tmp_path}/experiment']}}\n"
    )
    assert main([f"--config-dir={tmp_path}", "--config-name=mine", "--cfg=job"]) == 1
    assert "'hydra.searchpath' is set by a yaml file" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "mine.yaml").write_text("defaults: [config, _self_]\ntrainer: {epochs: 9}\n")
    assert main([f"--config-dir={tmp_path}", "--config-name=mine", "--cfg=job"]) == 0
    assert "epochs: 9" in capsys.readouterr().out


def test_folders_that_are_searched_are_those_that_were_typed(sent):
    folder = sent({"hydra": EVIL["hydra.run.dir"]})
    with HydraSession.begin("train", "config", [config_dir()]) as hydra:
        typed = f"hydra.searchpath=['file://{folder}']"
        assert hydra.compose([typed, "experiment=harmless"]).trainer.epochs == 7
        with pytest.raises(ConfigError, match=r"'hydra\.run\.dir'"):
            hydra.compose([typed, "experiment=theirs"])


def test_a_trial_of_a_sweep_is_composed_under_the_same_guard_in_another_process(sent):
    with session(sent({"hydra": EVIL["hydra.run.dir"]})) as hydra:
        loader = pickle.loads(pickle.dumps(hydra.loader))
        master = hydra.compose(["experiment=harmless"])
        assert loader.load_sweep_config(master, ["experiment=harmless", "seed=3"]).seed == 3
        with pytest.raises(ConfigError, match=r"'hydra\.run\.dir'"):
            loader.load_sweep_config(master, ["experiment=theirs"])


def test_a_run_to_go_on_with_is_typed(sent, capsys):
    folder = sent({"resume": "/somewhere"})
    assert main([f"--config-dir={folder}", "experiment=theirs", "--cfg=job"]) == 1
    assert "'resume' is set by a yaml file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "words", "key"),
    [
        ({"dataset": {"name": "../../evil"}}, [], "dataset.name"),
        ({"hydra": {"sweeper": {"study_name": "../../evil"}}}, ["-m", "seed=0,1"], "hydra.sweeper.study_name"),
    ],
)
def test_a_name_leads_out_of_no_folder(sent, capsys, monkeypatch, tmp_path, content, words, key):
    (tmp_path / "a" / "b" / "c").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b" / "c")
    folder = sent(content)
    assert main([f"--config-dir={folder}", "experiment=theirs", "tracking=none", *words]) == 1
    assert f"'{key}' is '../../evil'" in " ".join(capsys.readouterr().err.split())
    assert not [path for path in tmp_path.rglob("*evil*")]
