"""The answers on a night's files: a table of any format, each image in it once, whatever stopped the command."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import astropy.table
import cv2
import numpy as np
import pandas as pd
import pytest

from astroclf.cli.verbs import find_verb
from astroclf.inference import samples
from astroclf.models.classifier import Classifier
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.load import load
from astroclf.registry.package import write_package
from astroclf.use.predict import job
from tests.data.augment.recipes import recipe_values
from tests.tiny import noise, with_profile, write_tiny_package

Predict = Callable[..., int]
IMAGES = 7


@pytest.fixture
def predict(tmp_path: Path, tiny_package: Path, monkeypatch: pytest.MonkeyPatch) -> Predict:
    """Ask a tiny model, with words as people type them, in a folder with a night's files, one of them broken."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    Path("night").mkdir()
    for number in range(IMAGES):
        cv2.imwrite(f"night/{number}.png", rng.integers(0, 256, (20, 16, 3), dtype=np.uint8))

    def run(*words: str, model: Path = tiny_package) -> int:
        return find_verb("predict").main([str(model), *words])

    return run


def rows_of(path: str) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_plainest_form_writes_a_table_under_a_name_of_its_own_and_shows_it(predict, capsys, tiny_package):
    assert predict("night") == 0
    (output,) = Path("experiments/predictions").glob("night-*.csv")
    rows = rows_of(str(output))
    assert [row["path"] for row in rows] == [f"night/{number}.png" for number in range(IMAGES)]
    said = load(tiny_package).predict(np.stack([cv2.imread(row["path"])[..., ::-1] for row in rows]))
    assert [row["label"] for row in rows] == list(said["label"])
    np.testing.assert_allclose([float(row["p_Merging"]) for row in rows], said["p_Merging"], atol=1e-5)
    out, err = capsys.readouterr()
    assert "night/6.png" in out
    assert "7 of 7 images answered" in out + err
    assert sorted(Path("experiments/predictions").iterdir()) == [output, output.with_name(f"{output.name}.json")]


def test_a_broken_file_is_a_row_with_its_error_and_the_status_says_so(predict):
    Path("night/3.png").write_bytes(b"no picture")
    assert predict("night", "output=a.csv") == 1
    rows = rows_of("a.csv")
    assert len(rows) == IMAGES
    assert "night/3.png" in rows[3]["error"]
    assert rows[3]["label"] == rows[3]["p_Merging"] == ""
    assert predict("night/3.png", "output=b.csv") == 2
    assert predict("nihgt", "output=c.csv") == 2
    assert not Path("c.csv").exists()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet", ".fits", ".vot"])
def test_every_format_has_the_same_rows_and_the_columns_of_the_catalog(predict, suffix):
    Path("catalog.csv").write_text(
        "path,RA,label,ID,n,SDSS,TAP\n"
        "night/0.png,150.251234567891,spiral,007,1,1237648720693755918,12376487206937559180\n"
        "night/gone.png,,Ærø,008,,1237648720693755919,1\n"
        "night/2.png,-3e-1,,,3,-9223372036854775807,2\n"
    )
    assert predict("catalog.csv", f"output=answers{suffix}") == 1
    path = Path(f"answers{suffix}")
    if suffix == ".csv":
        table = pd.read_csv(path, dtype={"ID": str, "TAP": str})
    elif suffix == ".jsonl":
        table = pd.DataFrame([json.loads(line) for line in path.read_text().splitlines()])
    elif suffix == ".parquet":
        table = pd.read_parquet(path)
    else:
        options = {"format": "fits"} if suffix == ".fits" else {"format": "votable", "use_names_over_ids": True}
        read = astropy.table.Table.read(path, **options)
        read.convert_bytestring_to_unicode()
        table = read.to_pandas()
    assert list(table.columns) == [
        "path", "RA", "catalog_label", "ID", "n", "SDSS", "TAP", "label", "confidence", "uncertainty", "p_Merging",
        "p_Round Smooth", "p_Sb (barred)", "error",
    ]  # fmt: skip
    assert list(table["path"]) == ["night/0.png", "night/gone.png", "night/2.png"]
    assert table["RA"].tolist() == pytest.approx([150.251234567891, float("nan"), -0.3], rel=1e-14, nan_ok=True)
    assert list(table["ID"])[:2] == ["007", "008"]
    assert table["n"][2] == 3
    assert table["SDSS"].tolist() == [1237648720693755918, 1237648720693755919, -9223372036854775807]
    assert table["TAP"][0] == "12376487206937559180"  # more than 64 bits hold: a name, to the last digit
    assert table["p_Merging"].isna().tolist() == [False, True, False]
    probabilities = table[[name for name in table.columns if name.startswith("p_")]].loc[[0, 2]].sum(axis=1)
    assert probabilities.tolist() == pytest.approx([1, 1], abs=1e-6)


def test_torn_in_a_row_the_same_command_ends_with_every_row_once(predict, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(job, "write_answers", interrupted)
        assert predict("night", "output=a.csv", "batch_size=2") == 130
    Path("a.csv.partial").write_bytes(Path("a.csv.partial").read_bytes()[:-700])
    assert predict("night", "output=a.csv", "batch_size=3") == 0
    assert [row["path"] for row in rows_of("a.csv")] == [f"night/{number}.png" for number in range(IMAGES)]
    assert not Path("a.csv.partial").exists()


def test_ctrl_c_says_how_to_go_on_and_what_is_done_is_not_done_again(predict, monkeypatch, capsys):
    asked: list[str] = []
    prepare = samples.prepare

    def interrupted(preparation, block):
        asked.extend(sample.name for sample in block)
        if len(asked) == 4:
            raise KeyboardInterrupt
        return prepare(preparation, block)

    monkeypatch.setattr(samples, "prepare", interrupted)
    assert predict("night", "output=a.csv", "batch_size=1", "trainer.num_workers=1") == 130
    assert "after 3 of 7 images" in " ".join(capsys.readouterr().err.split())
    asked.clear()
    monkeypatch.setattr(samples, "prepare", lambda *given: asked.extend(s.name for s in given[1]) or prepare(*given))
    assert predict("night", "output=a.csv", "batch_size=1") == 0
    assert asked == [f"night/{number}.png" for number in range(3, IMAGES)]


def test_an_output_of_another_model_or_of_other_inputs_is_kept_unless_it_is_to_be_overwritten(
    predict, tmp_path, capsys, tiny_backbone
):
    assert predict("night", "output=a.csv") == 0
    assert predict("night", "output=a.csv") == 0
    assert "all rows already" in " ".join(capsys.readouterr())
    before = Path("a.csv").read_bytes()
    other = write_tiny_package(tmp_path / "other", classes=["a", "b", "c"])
    assert predict("night", "output=a.csv", model=other) == 2
    assert "model:" in capsys.readouterr().err
    shutil.copy("night/0.png", "night/7.png")
    assert predict("night", "output=a.csv") == 2
    assert "images: 7 there, 8 now" in capsys.readouterr().err
    assert Path("a.csv").read_bytes() == before
    assert predict("night", "output=a.csv", "overwrite=true") == 0
    assert len(rows_of("a.csv")) == 8
    Path("mine.csv").write_text("mine")
    assert predict("night", "output=mine.csv") == 2
    assert Path("mine.csv").read_text() == "mine"


def test_shards_are_disjoint_and_together_whole(predict):
    for number in (1, 2):
        assert predict("night", "output=out/a.csv", f"shard={number}/2") == 0
    parts = [[row["path"] for row in rows_of(f"out/a.{number}-of-2.csv")] for number in (1, 2)]
    assert [name for part in parts for name in part] == [f"night/{number}.png" for number in range(IMAGES)]
    assert all(parts)
    assert predict("night", "output=out/a.csv", "shard=4/3") == 2


def test_embeddings_are_columns_of_parquet_equal_for_equal_images(predict):
    shutil.copy("night/0.png", "night/twin.png")
    Path("night/3.png").write_bytes(b"no picture")
    assert predict("night", "output=a.parquet", "features=true", "batch_size=3") == 1
    table = pd.read_parquet("a.parquet").set_index("path")
    features = table[[f"f_{index}" for index in range(8)]]
    assert "f_8" not in table
    assert features.loc["night/0.png"].tolist() == pytest.approx(features.loc["night/twin.png"].tolist(), abs=1e-6)
    assert features.loc["night/3.png"].isna().all()
    assert not np.allclose(features.loc["night/0.png"], features.loc["night/1.png"], atol=1e-6)


def test_the_report_shows_each_class_and_the_errors(predict):
    Path("night/3.png").write_bytes(b"no picture")
    assert predict("night", "output=a.csv", "report=true") == 1
    page = Path("a.csv.html").read_text()
    answered = {row["path"]: row["label"] for row in rows_of("a.csv") if row["label"]}
    assert page.count("data:image/jpeg") == len(answered) == IMAGES - 1
    assert all(f'<div class="id">{path}</div>' in page for path in answered)
    assert "<td>night/3.png</td>" in page
    assert "http" not in page.partition("<body>")[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["night", "output=a.txt"], "its suffix says the format"),
        (["night", "output=night/0.png/a.csv"], "cannot be written to (File exists)"),
        (["night", "features=true"], "output=NAME.parquet"),
        (["night", "outputs=a.csv"], "Did you mean 'output'"),
        ([], "'inputs' has no value yet"),
    ],
)
def test_what_cannot_be_is_said_in_one_paragraph(predict, words, said, capsys):
    assert predict(*words) == 2
    err = capsys.readouterr().err
    assert said in " ".join(err.split())
    assert "Traceback" not in err


def test_many_words_are_many_inputs(predict):
    assert predict("night/4.png", "night/2.png", "output=a.csv") == 0
    assert [row["path"] for row in rows_of("a.csv")] == ["night/4.png", "night/2.png"]


@pytest.mark.slow
def test_killed_at_any_time_the_same_command_ends_with_every_row(tmp_path, clean_environment):
    network = Classifier(ResNet18(image_size=64, stem="imagenet"), 3)
    spec = {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "image_size": 64, "stem": "imagenet"},
        "classes": ["a", "b", "c"],
        "image_size": 64,
        "augment": recipe_values(mean=[0.4] * 3, std=[0.2] * 3),
        "tta_views": 8,
    }
    write_package(tmp_path / "model", spec, network.state_dict())
    rng = np.random.default_rng(0)
    (tmp_path / "night").mkdir()
    for number in range(300):
        cv2.imwrite(str(tmp_path / f"night/{number:03d}.png"), rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    command = [sys.executable, "-m", "astroclf.predict", "model", "night", "output=a.parquet", "batch_size=4"]
    started = []
    for _ in range(3):
        process = subprocess.Popen(command, cwd=tmp_path, env=clean_environment)
        journal, before = tmp_path / "a.parquet.partial", started[-1] if started else 0
        while process.poll() is None and not (journal.exists() and journal.stat().st_size > before + 10_000):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        started.append(journal.stat().st_size)
    assert started == sorted(set(started))
    assert subprocess.run(command, cwd=tmp_path, env=clean_environment, check=False).returncode == 0
    assert list(pd.read_parquet(tmp_path / "a.parquet")["path"]) == [f"night/{number:03d}.png" for number in range(300)]


def test_an_ensemble_answers_with_its_mean_where_its_models_prepare_images_alike(predict, tmp_path, tiny_backbone):
    sharp = write_tiny_package(tmp_path / "sharp", calibration={"temperature": [0.2]})
    flat = write_tiny_package(tmp_path / "flat", calibration={"temperature": [5.0]})
    assert predict("night", "output=a.csv", model=f"[{sharp},{flat}]") == 0
    rows = rows_of("a.csv")
    said = load([sharp, flat]).predict([row["path"] for row in rows])
    np.testing.assert_allclose([float(row["p_Merging"]) for row in rows], said["p_Merging"], atol=1e-5)
    assert predict("night", "output=a.csv", model=f"[{flat},{flat}]") == 2  # not the models whose answers are there


def test_an_ensemble_whose_models_prepare_images_differently_is_refused(predict, tmp_path, tiny_package, capsys):
    larger = write_tiny_package(tmp_path / "larger", image_size=48)
    assert predict("night", "output=a.csv", model=f"[{tiny_package},{larger}]") == 2
    assert "their image size differs" in capsys.readouterr().err
    assert not Path("a.csv").exists()


@pytest.fixture
def strange_night(tiny_package, tmp_path, predict) -> Path:
    """A night of six images like the training's and two that are not, one broken file; returns the model."""
    shutil.rmtree("night")
    Path("night").mkdir()
    for number, picture in enumerate([*noise(6, 4), *noise(2, 6, spread=80)]):
        cv2.imwrite(f"night/{number}.png", picture)
    Path("night/8.png").write_bytes(b"no picture")
    return with_profile(tiny_package, tmp_path / "known")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet", "fits", "vot"])
def test_images_unlike_the_training_are_flagged_in_every_format(predict, strange_night, suffix, capsys):
    assert predict("night", f"output=a.{suffix}", model=strange_night) == 1
    if suffix == "csv":
        flags = [{"true": True, "false": False, "": None}[row["unlike_training"]] for row in rows_of("a.csv")]
    elif suffix == "jsonl":
        flags = [json.loads(line)["unlike_training"] for line in Path("a.jsonl").read_text().splitlines()]
    elif suffix == "parquet":
        flags = [None if pd.isna(flag) else bool(flag) for flag in pd.read_parquet("a.parquet")["unlike_training"]]
    else:
        column = astropy.table.Table.read(f"a.{suffix}")["unlike_training"]
        flags = [None if flag is np.ma.masked else bool(flag) for flag in column]
    assert flags[:8] == [False] * 6 + [True] * 2
    assert flags[8] in (None, False)  # FITS knows no third value of a truth
    out, err = capsys.readouterr()
    assert "2 of 8 are unlike anything that the model was trained on: look at them first" in " ".join(
        (out + err).split()
    )


def test_the_page_shows_what_is_unlike_the_training_before_the_classes(predict, strange_night):
    predict("night", "output=a.csv", "report=true", model=strange_night)
    page = Path("a.csv.html").read_text(encoding="utf-8")
    section = page[page.index('id="unlike"') : page.index('id="class-1"')]
    assert section.count("<figure>") == 2
    assert "night/6.png" in section
    assert "night/5.png" not in section


def test_a_model_that_does_not_know_its_training_images_says_so_once(predict, capsys):
    assert predict("night", "output=a.csv") == 0
    assert "unlike_training" not in rows_of("a.csv")[0]
    assert "".join(capsys.readouterr()).count("no novelty") == 1
