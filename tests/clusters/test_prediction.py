"""A catalogue in Parquet partitions, and the same with a model's answers: the recipes of docs/many_machines.md."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tests.clusters.one_node_slurm import missing_programs
from tests.end_to_end.conftest import SMALL

PAGE = Path(__file__).parents[2] / "docs" / "many_machines.md"
MODEL = "models:/galaxy10_sim/1"
IMAGES = 20  # of which the last cannot be read
pytestmark = pytest.mark.slow


def recipe(language: str, word: str) -> str:
    """The block of the page that has this word, of the model and the machine that are here."""
    (block,) = (text for text in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL) if word in text)
    here = {
        "models:/galaxy10@champion": MODEL, "num_gpus=1": "num_gpus=0", "num_cpus=4": "num_cpus=1", "size=8": "size=1",
        "--array=0-99%16": "--array=0-1", "--gpus=1 --cpus-per-task=8 --mem=16G": "--cpus-per-task=1",
    }  # fmt: skip
    for there, ours in here.items():
        block = block.replace(there, ours)
    return block


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A folder with a registered model, and images."""
    folder = tmp_path_factory.mktemp("trained")
    command = [sys.executable, "-m", "astroclf.train", *SMALL, "trainer.epochs=1", "trainer.num_workers=1"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(IMAGES - 1):
        pixels = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    (folder / "images" / f"{IMAGES - 1}.png").write_bytes(b"no picture")
    return folder


@pytest.fixture
def environment(trained, clean_environment) -> dict[str, str]:
    return clean_environment | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{trained}/mlflow.db",
        "ASTROCLF_SERVE_FOLDER": str(trained / "images"),
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
    }


def write_catalogue(folder: Path, trained: Path, names: str) -> None:
    for part in (0, 1):
        numbers = range(part * IMAGES // 2, (part + 1) * IMAGES // 2)
        paths = [str(trained / "images" / f"{number}.png") for number in numbers]
        path = folder / "catalogue" / names.format(part)
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame({"number": list(numbers), "path": paths, "z": np.linspace(0, 1, len(paths))}).to_parquet(path)


def check_answers(table: pd.DataFrame) -> None:
    """The catalogue's columns are as they were, and each image has its answer or the reason why not."""
    table = table.sort_values("number").reset_index(drop=True)
    assert list(table["number"]) == list(range(IMAGES))
    assert list(table["path"].map(lambda path: int(Path(path).stem))) == list(range(IMAGES))
    assert table["z"].between(0, 1).all()
    readable = table.iloc[:-1]
    assert readable["label"].notna().all()
    assert readable["confidence"].between(0, 1).all()
    assert (readable["error"].fillna("") == "").all()
    assert pd.isna(table["label"].iloc[-1])
    assert "not a picture" in table["error"].iloc[-1]


def run_script(text: str, folder: Path, environment: dict[str, str]) -> None:
    (folder / "recipe.py").write_text(text)
    done = subprocess.run(
        [sys.executable, "recipe.py"], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slurm
@pytest.mark.skipif(bool(missing_programs()), reason=f"not installed: {', '.join(missing_programs())}")
def test_an_array_of_jobs_answers_partition_by_partition(slurm, trained, environment, tmp_path):
    write_catalogue(tmp_path, trained, "part-{}.parquet")
    script = recipe("sh", "--array").replace("astroclf predict", f"{sys.executable} -m astroclf predict")
    (tmp_path / "job.sh").write_text(script)
    around = environment | {key: slurm[key] for key in ("SLURM_CONF", "PATH")}
    subprocess.run(["sbatch", "--wait", "job.sh"], cwd=tmp_path, env=around, check=False, timeout=300)
    answers = sorted((tmp_path / "answers").glob("*.parquet"))
    assert [path.name for path in answers] == ["part-0.parquet", "part-1.parquet"]
    check_answers(pd.concat([pd.read_parquet(path) for path in answers]))


@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs Ray: pip install 'astroclf[ray]'")
def test_ray_data_leaves_the_partitions_with_answers(trained, environment, tmp_path):
    write_catalogue(tmp_path, trained, "tile={}/rows.parquet")
    run_script('import ray\n\nray.init("local", num_cpus=3)\n' + recipe("python", "ray.data"), tmp_path, environment)
    assert sorted(path.name for path in (tmp_path / "answers").iterdir()) == ["tile=0", "tile=1"]
    check_answers(pd.read_parquet(tmp_path / "answers"))


@pytest.mark.skipif(
    importlib.util.find_spec("pyspark") is None or shutil.which("java") is None, reason="needs pyspark and Java"
)
def test_spark_leaves_the_partitions_with_answers(trained, environment, tmp_path):
    write_catalogue(tmp_path, trained, "tile={}/rows.parquet")
    run_script(recipe("python", "spark_udf"), tmp_path, environment)
    check_answers(pd.read_parquet(tmp_path / "answers"))
