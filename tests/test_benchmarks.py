"""The benchmark of a GPU, dry: on the CPU, with sizes at which its figures mean nothing."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(BENCHMARKS)
    before = set(sys.modules)
    spec = importlib.util.spec_from_file_location("gpu_benchmark", BENCHMARKS / "gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("device", "peers"):
            del sys.modules[name]


def test_a_dry_run_measures_and_writes(gpu, tmp_path, capsys):
    kinds = ["ceilings", "training custom6conv", "kernels", "epoch"]
    parts = _measured(gpu, tmp_path / "gpu.json", "--parts", *kinds, "--without", "deterministic=false")
    assert list(parts) == ["ceilings", "training custom6conv 32", "kernels", "epoch"]
    assert "astroclf, deterministic=false" not in parts["training custom6conv 32"]["contenders"]
    training = parts["training custom6conv 32"]
    assert training["contenders"]["astroclf"]["share_of_bare"] > 0
    assert training["floor"]["fused_seconds"] < training["floor"]["one_by_one_seconds"]
    assert len(parts["kernels"]["top"]) == 15
    assert len(parts["epoch"]["seconds"]) == 1
    shown = capsys.readouterr().out
    assert all(f"== {name}" in shown for name in parts)


def test_parts_that_the_time_does_not_reach_are_named(gpu, tmp_path):
    gpu.main(["--dry-run", "--minutes", "-1", "--json", str(tmp_path / "gpu.json")])
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    assert all("minutes were spent" in part["skipped"] for part in parts.values())
    assert len(parts) > 10


@pytest.mark.slow
def test_all_parts_run_dry(gpu, tmp_path):
    parts = _measured(gpu, tmp_path / "gpu.json")
    assert parts["waits"]["skipped"]
    assert "astroclf, Predictor.say" in parts["latency 32"]["contenders"]
    assert parts["waiting"]["places"].keys() == {"device", "memory", "disk"}


def test_without_a_cuda_device_there_is_nothing_to_measure(gpu, tmp_path, capsys):
    gpu.main(["--json", str(tmp_path / "gpu.json")])
    assert "no CUDA device" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def _measured(gpu: ModuleType, path: Path, *options: str) -> dict[str, dict]:
    """Run dry; return the parts, none of which failed, nor any contender that is installed."""
    gpu.main(["--dry-run", "--minutes", "60", "--json", str(path), *options])
    record = json.loads(path.read_text())
    assert record["dry_run"]
    assert record["device"]["name"] == "cpu"
    for part in record["parts"].values():
        assert "error" not in part, part
        failed = {name: each for name, each in part.get("contenders", {}).items() if "error" in each}
        assert not failed
    return record["parts"]
