"""A package that is installed beside astroclf and announces components is used as ours are: the one of the docs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

SMALL = (
    "backbone=quarters", "trainer=debug", "trainer.max_eval_batches=null", "dataset.samples=60",
    "dataset.image_size=16", "optimizer=sgd", "tracking=none", "augment=none",
)  # fmt: skip
FILE = re.compile(r"^`([\w./]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package of docs/extending.md, its files as they stand there; not installed."""
    docs = Path(__file__).parents[2] / "docs" / "extending.md"
    section = docs.read_text(encoding="utf-8").partition("## From a package of your own")[2]
    folder = tmp_path_factory.mktemp("package")
    for name, content in FILE.findall(section):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def installed(package: Path) -> Path:
    """The same with what an installer adds: it is then found wherever the folder is on Python's path."""
    project = tomllib.loads((package / "pyproject.toml").read_text())["project"]
    site = package.with_name("site")
    site.mkdir()
    (site / "galaxy_nets").symlink_to(package / "galaxy_nets")
    record = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    ((group, points),) = project["entry-points"].items()
    (record / "entry_points.txt").write_text(
        "\n".join([f"[{group}]", *(f"{name} = {value}" for name, value in points.items())]) + "\n"
    )
    return site


@pytest.fixture
def train(tmp_path, clean_environment):
    def run(site: Path, *words: str) -> subprocess.CompletedProcess[str]:
        environment = clean_environment | {"PYTHONPATH": os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])}
        return subprocess.run(
            [sys.executable, "-m", "astroclf.train", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


@pytest.mark.slow
def test_it_is_trained_and_packaged(train, installed, tmp_path):
    done = train(installed, *SMALL, "backbone.width=8", "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    saved = json.loads((tmp_path / "run" / "model" / "model.json").read_text())
    assert saved["backbone"] == {"_target_": "galaxy_nets.Quarters", "width": 8}


@pytest.mark.slow
def test_it_is_gone_on_with(train, installed, tmp_path):
    assert train(installed, *SMALL, "backbone.width=8", "hydra.run.dir=run").returncode == 0
    (tmp_path / "run" / "metrics.json").unlink()
    done = train(installed, "resume=run", "trainer.max_steps=5")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["train/steps"] == 5


@pytest.mark.slow
def test_it_is_searched(train, installed, tmp_path):
    words = ["-m", "backbone.width=4,8", "hydra.sweeper.n_trials=2", "hydra.sweep.dir=sweep", "seed=1"]
    done = train(installed, *SMALL, *words, "hydra.sweeper.storage=sqlite:///optuna.db")
    assert done.returncode == 0, done.stderr + done.stdout
    assert len(list(tmp_path.glob("sweep/[01]/metrics.json"))) == 2


def test_help_lists_it_and_its_keys_are_checked(train, installed):
    done = train(installed, "--help")
    assert re.search(r"^  backbone=.* of .*\bquarters\b", done.stdout, re.MULTILINE), done.stdout
    done = train(installed, *SMALL, "backbone.widht=8")
    assert "Did you mean 'backbone.width'" in " ".join(done.stderr.split())
    done = train(installed, *SMALL, "backbone.width=wide")
    assert "'backbone.width' cannot be 'wide'. Give a whole number, such as 16." in " ".join(done.stderr.split())


def test_a_package_that_is_not_installed_is_refused_though_it_can_be_imported(train, package, tmp_path):
    done = train(package, *SMALL, f"--config-dir={package / 'galaxy_nets' / 'conf'}")
    assert done.returncode == 1
    said = " ".join(done.stderr.split())
    assert "'backbone._target_' is galaxy_nets.Quarters; a backbone must be a class below astroclf.models." in said
    assert not list(tmp_path.glob("experiments/runs/*/*"))
