"""Fixtures that several rooms share. Nothing here touches the user's cache, database or network."""

from __future__ import annotations

import gc
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from astroclf.util.threads import available_cores

if TYPE_CHECKING:
    from torch import nn

    from tests.postgres import PostgresServer

hypothesis.settings.register_profile("no deadline", deadline=None)  # a busy machine is no fault of the code
hypothesis.settings.load_profile("no deadline")

# What pip writes into bin/astroclf.
SCRIPT = f"""#!{sys.executable}
import sys
from astroclf.__main__ import main
if __name__ == "__main__":  # the workers of a sweep import this file
    sys.exit(main())
"""

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and what it starts, ignores it
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the commands do, before torch starts its threads
if "PYTEST_XDIST_WORKER" in os.environ:  # one of several that share the cores: a thread each, and for what they start
    os.environ.setdefault("OMP_NUM_THREADS", "1")
gc.disable()  # until all is imported: it would look again and again at a million objects that stay, a fifth of the time


@pytest.hookimpl(optionalhook=True)  # of xdist
def pytest_xdist_auto_num_workers() -> int:
    """Take one worker more than there are cores: some wait for disks, processes and servers that they have started."""
    return available_cores() + 1


def pytest_configure(config: pytest.Config) -> None:
    """Let xdist give out files in the order of `pytest_collection_modifyitems`, not by how many tests they have."""
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with whole commands: few tests that take half a minute, for which at the end one worker would be left."""
    items.sort(key=lambda item: "end_to_end" not in item.path.parts)


def pytest_collection_finish() -> None:
    """Let garbage be collected from now on, but of what tests make alone: looking at the rest takes 0.7 s each time."""
    gc.freeze()
    gc.enable()


def pytest_sessionfinish() -> None:
    """Let libraries take leave of all their objects at the end of the process, as some complain of those that stay."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """All tests share one cache folder, apart from the user's own."""
    folder = tmp_path_factory.getbasetemp() / "cache"
    monkeypatch.setenv("ASTROCLF_CACHE", str(folder))
    monkeypatch.setenv("MPLBACKEND", "Agg")
    return folder


@pytest.fixture(autouse=True)
def gpu_where_asked_for(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Show a GPU to tests marked ``gpu`` alone: what others compare holds to the last bits of a CPU."""
    torch = sys.modules.get("torch")  # which most rooms' tests do without
    there = torch is not None and torch.cuda.is_available()
    if request.node.get_closest_marker("gpu"):
        if not there:
            pytest.skip("needs a CUDA GPU")
    elif there:
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # of processes that the test starts


@pytest.fixture(autouse=True)
def no_named_database(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the database that a test before (`mlflow.set_tracking_uri`) or the user has named for all of MLflow."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def nothing_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the command that a test before has called in this process: it stands in what is written for people."""
    monkeypatch.setattr("astroclf.util.invocation._typed", [])


@pytest.fixture
def clean_environment(own_cache: Path) -> dict[str, str]:
    """Environment for commands that a test starts as a user would."""
    keep = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW_", "HYDRA_"))}
    return keep | {"ASTROCLF_CACHE": str(own_cache), "MPLBACKEND": "Agg", "COLUMNS": "100"}


@pytest.fixture(scope="session")
def made_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database made as users make it; MLflow needs two seconds for that, so tests take copies."""
    from astroclf.tracking.database import ensure_database

    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    ensure_database(f"sqlite:///{path}")
    return path


@pytest.fixture
def database_uri(made_database: Path, tmp_path: Path) -> str:
    """A database of this test alone."""
    shutil.copy(made_database, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture(scope="module")
def uri(made_database: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that the tests of one module share."""
    path = tmp_path_factory.mktemp("module") / "mlflow.db"
    shutil.copy(made_database, path)
    return f"sqlite:///{path}"


@pytest.fixture(scope="module")
def single_threaded() -> Iterator[None]:
    """Torch with one thread, as forked processes have no more: the same sums, to the bit, in all of them."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def seeded_and_single_threaded() -> Iterator[None]:
    """Fixed random numbers, and one thread: a handful of numbers and tiny networks are computed fastest on it."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A real PostgreSQL on loopback, for all tests that need one."""
    from tests.postgres import running_server, why_not

    if reason := why_not():
        pytest.skip(reason)
    with running_server() as server:
        yield server


@pytest.fixture
def deterministic() -> Iterator[None]:
    """The same bits of the same inputs on a GPU, as trainings have them unless they are asked for otherwise."""
    import torch

    from astroclf.models.precision import make_deterministic

    before = torch.backends.cudnn.benchmark
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    make_deterministic(True, device)
    yield
    make_deterministic(False, device)
    torch.backends.cudnn.benchmark = before


@pytest.fixture(scope="session")
def script(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script ``astroclf``, in a folder of its own, beside a ``python`` that is the one of these tests."""
    path = tmp_path_factory.mktemp("bin") / "astroclf"
    for name, text in (("astroclf", SCRIPT), ("python", f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')):
        path.with_name(name).write_text(text)
        path.with_name(name).chmod(0o755)
    return path


@pytest.fixture
def shell(
    script: Path, tmp_path: Path, clean_environment: dict[str, str]
) -> Callable[..., subprocess.CompletedProcess]:
    """Run a line of bash in an empty folder, where ``astroclf`` and ``python`` are commands."""
    environment = clean_environment | {"PATH": f"{script.parent}:{clean_environment['PATH']}", "HOME": str(tmp_path)}

    def run(line: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            ["bash", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.fixture
def typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], subprocess.CompletedProcess]:
    """Carry out a line that begins with ``astroclf`` in this process: what a `shell` does, without a second of imports.

    What a shell or a process of its own has a part in (patterns, pipes, ``python -m``, encodings, exit) needs `shell`.
    """
    from astroclf.__main__ import main

    for name in [name for name in os.environ if name.startswith(("MLFLOW_", "HYDRA_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)

    def run(line: str) -> subprocess.CompletedProcess:
        command, *words = shlex.split(line)
        assert command == "astroclf"
        capsys.readouterr()
        status = main(words)
        return subprocess.CompletedProcess(line, status, *capsys.readouterr())

    return run


@pytest.fixture(scope="session")
def tiny_backbone() -> Iterator[type[nn.Module]]:
    """The smallest network there can be, under a name that packages take."""
    from tests.tiny import named_as_ours  # torch, which most rooms' tests do without

    with named_as_ours() as backbone:
        yield backbone


@pytest.fixture(scope="session")
def tiny_package(tmp_path_factory: pytest.TempPathFactory, tiny_backbone: type[nn.Module]) -> Path:
    """A model package of that network: 32 px, three classes, random weights. Nobody writes into it."""
    from tests.tiny import write_tiny_package

    return write_tiny_package(tmp_path_factory.mktemp("tiny") / "model")
