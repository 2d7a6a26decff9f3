"""The wheel that goes with a model installs the astroclf that made it, and names nothing that it does not need."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import astroclf
from astroclf.errors import AstroclfError
from astroclf.registry import distribution
from astroclf.registry.distribution import requirements, write_wheel
from astroclf.registry.register import save_model

PAGE = Path(__file__).parents[2] / "docs" / "hand_over.md"
TRAINING = {"hydra-core", "omegaconf", "optuna", "mlflow", "mlflow-skinny", "matplotlib", "tensorboard"}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder into which the wheel was installed, by uv and without its dependencies."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = write_wheel(folder)
    install = ["pip", "install", "-q", "--no-deps", "--offline", "--no-index", "--target", str(folder / "site")]
    done = subprocess.run(
        [sys.executable, "-m", "uv", *install, str(wheel)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "site"


def test_the_wheel_holds_the_whole_package_and_its_yaml_files(installed: Path) -> None:
    ours, theirs = (
        {path.relative_to(package).as_posix() for path in package.rglob("*.*") if "__pycache__" not in path.parts}
        for package in (distribution._PACKAGE, installed / "astroclf")
    )
    assert {name for name in theirs if not name.startswith("conf/")} == ours
    assert {"conf/config.yaml", "py.typed"} <= theirs
    assert any(name.endswith(".html.j2") for name in theirs)
    assert (installed / "bin" / "astroclf").is_file()


def test_the_wheel_asks_for_training_s_packages_as_an_extra_only(installed: Path) -> None:
    (found,) = importlib.metadata.distributions(path=[str(installed)])
    assert (found.name, found.version) == ("astroclf", astroclf.__version__)
    needed = [line for line in found.requires or [] if "extra ==" not in line]
    assert not {line.partition(">")[0] for line in needed} & TRAINING
    assert any(line.startswith("hydra-core") and "extra == 'train'" in line for line in found.requires or [])


def test_the_same_sources_give_the_same_wheel(tmp_path: Path) -> None:
    first, second = (write_wheel(tmp_path / name).read_bytes() for name in ("a", "b"))
    assert first == second


def test_requirements_are_pinned_and_leave_training_out() -> None:
    lines = dict(line.split("==") for line in requirements())
    assert {"torch", "numpy", "astropy", "safetensors"} <= lines.keys()
    assert not lines.keys() & (TRAINING | {"astroclf"})
    assert lines["torch"] == importlib.metadata.version("torch").partition("+")[0]


def test_an_installation_says_the_same_as_a_checkout(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = requirements()
    monkeypatch.setattr(distribution, "_PACKAGE", installed / "astroclf")
    monkeypatch.syspath_prepend(str(installed))
    assert requirements() == checkout


def test_without_any_word_of_what_it_needs_no_wheel_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(distribution, "_PACKAGE", tmp_path / "astroclf")
    monkeypatch.setattr(importlib.metadata, "distribution", missing)
    with pytest.raises(AstroclfError, match="belongs to no checkout and to no installation"):
        write_wheel(tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow  # MLflow's command needs seconds to start
def test_the_lines_of_the_docs_make_a_dockerfile_that_finds_the_wheel(
    tiny_package: Path, tmp_path: Path, clean_environment: dict[str, str]
) -> None:
    save_model(tmp_path / "model", tiny_package)
    written = PAGE.read_text(encoding="utf-8").partition("### As a Docker image")[2]
    generate, mend, *_ = written.partition("```sh\n")[2].splitlines()
    line = f"{generate.replace('models:/galaxy10@champion', 'model')} && {mend}"
    path = os.pathsep.join([str(Path(sys.executable).parent), clean_environment["PATH"]])
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env={**clean_environment, "PATH": path}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    dockerfile = (tmp_path / "docker" / "Dockerfile").read_text()
    (install,) = re.findall(r"^RUN (.*_install_pyfunc_deps.*)$", dockerfile, re.MULTILINE)
    assert install.startswith("cd /opt/ml/model && python -c "), "pip reads paths from where it is called"
    (copied,) = re.findall(r"^COPY (\S+) /opt/ml/model$", dockerfile, re.MULTILINE)
    model = tmp_path / "docker" / copied
    (wheel,) = [line for line in (model / "requirements.txt").read_text().splitlines() if line.endswith(".whl")]
    assert (model / wheel).is_file()
