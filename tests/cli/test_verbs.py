"""Verbs as a whole: each has a front door, its own help, the version, and one way to say what is wrong."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import astroclf
from astroclf.__main__ import main
from astroclf.cli.verbs import VERBS, find_verb

PACKAGE = Path(astroclf.__file__).parent


def test_the_command_lists_its_verbs(capsys):
    for arguments in ([], ["--help"], ["help"]):
        assert main(arguments) == 0
        out = capsys.readouterr().out
        for verb, text in VERBS.items():
            assert re.search(rf"^  astroclf {verb} +{re.escape(text)}$", out, re.MULTILINE)


def test_every_front_door_is_a_verb_and_short():
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__", "__main__", "errors"}
    assert modules == set(VERBS)
    for name in modules:
        assert find_verb(name).name == name
        assert len((PACKAGE / f"{name}.py").read_text().splitlines()) < 60


@pytest.mark.parametrize("verb", [[], *([verb] for verb in VERBS)])
def test_the_version_is_ours(verb, capsys):
    assert main([*verb, "--version"]) == 0
    assert capsys.readouterr().out == f"astroclf {astroclf.__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_shows_its_own_groups_and_keys_with_their_comments(verb, capsys):
    assert main([verb, "--help"]) == 0
    out = capsys.readouterr().out
    keys = re.search(r"^Keys.*?\n\n", out, re.MULTILINE | re.DOTALL)
    assert keys is not None
    for word in ("_base", "_files", "_cache", "_store", "_target_", "hydra."):
        assert word not in out.partition("Options\n")[0].partition("Usage: ")[2]
    choices = re.findall(r"^  ([\w/]+)=\S+ +of ", out, re.MULTILINE)
    assert set(choices) == {
        "train": {"dataset", "backbone", "loss", "augment", "optimizer", "scheduler", "finetune", "trainer",
                  "tracking", "experiment", "sweep"},
        "find_lr": {"dataset", "backbone", "loss", "augment", "optimizer", "scheduler", "finetune", "trainer",
                    "tracking", "experiment", "sweep"},
        "doctor": {"dataset", "backbone", "loss", "augment", "optimizer", "scheduler", "finetune", "trainer",
                   "tracking", "experiment", "sweep"},
        "pretrain": {"dataset", "backbone", "augment", "optimizer", "scheduler", "trainer", "tracking"},
        "pick": {"dataset", "backbone", "loss", "augment", "optimizer", "scheduler", "finetune", "trainer",
                 "tracking", "experiment", "sweep"},
        "check": {"dataset"}, "prepare": {"dataset"}, "simulate": {"kind"}, "stores": set(), "promote": set(),
        "export": set(), "runs": set(), "evaluate": {"dataset"},
        "predict": set(), "explain": set(), "explore": set(),
    }[verb]  # fmt: skip
    for line in keys[0].splitlines()[1:-1]:
        key, _, comment = line.strip().partition("  ")
        assert "=" in key
        assert comment.strip() or key.startswith("dataset.name="), f"{key} has no comment"


def test_help_follows_the_choices_beside_it(capsys):
    assert main(["help", "train", "loss=cb_focal"]) == 0
    out = capsys.readouterr().out
    assert "loss=cb_focal" in out
    assert "loss.gamma=" in out


@pytest.mark.parametrize("verb", VERBS)
def test_the_module_is_the_same_command(verb, tmp_path, monkeypatch, capsys):
    """As ``python -m`` runs it, but in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["", "xyzzy=1"])
    monkeypatch.delitem(sys.modules, f"astroclf.{verb}", raising=False)
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(f"astroclf.{verb}", run_name="__main__", alter_sys=True)
    assert ended.value.code == (2 if verb in ("check", "evaluate", "explain", "explore", "predict") else 1)
    assert capsys.readouterr().err == (
        f"Error: 'xyzzy' is no key of this configuration. `python -m astroclf.{verb} --help` lists the keys.\n"
    )
    assert list(tmp_path.iterdir()) == []


def test_the_configuration_is_shown_only_if_a_run_would_take_it(capsys):
    assert main(["train", "--cfg", "job", "trainer.epochs=3"]) == 0
    assert "epochs: 3" in capsys.readouterr().out
    assert main(["train", "--cfg", "job", "trainer.epochs=0"]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "Error: 'trainer.epochs' is 0; it must be at least 1.\n"
    assert main(["train", "-m", "--cfg", "job", "seed=0,1"]) == 1
    assert "leave out -m" in capsys.readouterr().err


def test_hydras_own_help_and_info_answer(capsys):
    assert main(["train", "--hydra-help"]) == 0
    assert "--multirun" in capsys.readouterr().out
    assert main(["train", "--info", "defaults"]) == 0


def test_a_page_that_nobody_reads_to_its_end_is_no_fault(shell):
    for line in ("astroclf train --help", "astroclf --help", "astroclf train --cfg job"):
        done = shell(f"{line} | head -1; echo ${{PIPESTATUS[0]}}")
        assert done.stderr == ""
        assert done.stdout.splitlines()[-1] == "0"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
@pytest.mark.parametrize("command", ["--help", "train --cfg job", "stores"])
def test_a_page_that_is_written_to_a_full_disk_is_a_fault(command, shell):
    done = shell(f"astroclf {command} > /dev/full")
    assert done.returncode == 1
    assert done.stderr == "Not all that was to be printed could be written: No space left on device.\n"


COMMANDS = (
    "astroclf train --cfg job dataset=folder dataset.path=星系",
    "astroclf stores dataset.cache_dir=星系",
    "astroclf simulate output=星系/σ.h5 samples=10 image_size=16",
)


@pytest.mark.parametrize(
    ("terminal", "commands"), [("PYTHONIOENCODING=ascii", COMMANDS), ("LC_ALL=C PYTHONUTF8=0", COMMANDS[2:])]
)
def test_any_terminal_shows_any_name(terminal, commands, shell, tmp_path):
    for command in commands:
        done = shell(f"{terminal} {command}")
        assert done.returncode == 0, done.stderr
        assert "\\u661f\\u7cfb" in done.stdout
    assert (tmp_path / "星系" / "σ.h5").is_file()
    done = shell(f"{terminal} astroclf check 太陽")
    assert done.returncode == 2
    assert "neither a file nor a folder" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_traceback_is_shown_to_whoever_asks_for_it(tmp_path, clean_environment):
    done = subprocess.run(
        [sys.executable, "-m", "astroclf", "train", "xyzzy=1"],
        cwd=tmp_path, env=clean_environment | {"HYDRA_FULL_ERROR": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert "ConfigError: 'xyzzy' is no key" in done.stderr


@pytest.mark.parametrize(
    ("words", "job", "key"),
    [
        (
            "train tracking=none dataset.samples=60",
            "astroclf.run.train.train",
            "a smaller trainer.batch_size, or",
        ),
        ("predict model=x inputs=y", "astroclf.use.predict.job.predict", "a smaller batch_size, or"),
        ("evaluate model=x dataset.path=y", "astroclf.use.evaluation.job.evaluate", "Take the CPU"),
    ],
)
def test_a_gpu_without_room_ends_any_verb_in_one_paragraph(words, job, key, typed, tmp_path, monkeypatch):
    def without_room(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.44 GiB.")

    monkeypatch.setattr(job, without_room)
    done = typed(f"astroclf {words}")
    assert done.returncode in (1, 2)
    assert done.stderr.startswith("Error: The GPU ran out of memory. Take ")
    assert key in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.rglob("config.yaml"))


def test_nothing_of_one_command_is_left_for_the_next(capsys):
    before = dict(os.environ), list(sys.argv)
    for _ in range(2):
        assert main(["train", "xyzzy=1"]) == 1
        assert capsys.readouterr().err.count("Error: ") == 1
    after = dict(os.environ), list(sys.argv)
    after[0].pop("PYTEST_CURRENT_TEST", None)
    before[0].pop("PYTEST_CURRENT_TEST", None)
    assert after == before


def test_more_yaml_files_may_lie_in_a_folder_of_ones_own(tmp_path, capsys):
    (tmp_path / "loss").mkdir()
    (tmp_path / "loss" / "mine.yaml").write_text(
        "_target_: astroclf.losses.focal.FocalLoss\ngamma: 3.5\nbeta: 0.0\nactivation: softmax\n"
    )
    assert main(["train", "--config-dir", str(tmp_path), "--cfg", "job", "loss=mine"]) == 0
    assert "gamma: 3.5" in capsys.readouterr().out
    assert main(["train", "--config-dir", "nowhere", "--help"]) == 1
    assert "there is no folder" in capsys.readouterr().err


def test_importing_the_package_is_cheap_and_loading_a_model_lazy():
    code = (
        "import sys, astroclf; "
        "assert not {'torch', 'mlflow', 'hydra', 'numpy', 'pandas'} & set(sys.modules); "
        "assert callable(astroclf.load)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
