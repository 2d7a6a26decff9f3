"""The verb `explore` on a few images: its page, its list, its words when something is wrong."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pyarrow import parquet

from astroclf.config.compose import composed_as
from astroclf.errors import AstroclfError, ConfigError
from astroclf.inference.predictor import Predictor
from astroclf.registry.load import load
from astroclf.settings.verbs.asking import ExploreConfig, PredictConfig
from astroclf.use.explore import job
from astroclf.use.predict.job import predict

Explore = Callable[..., int]
OUT = Path("out")


@pytest.fixture
def explore(tmp_path: Path, tiny_package: Path, monkeypatch: pytest.MonkeyPatch) -> Explore:
    """Explore with a tiny model in a folder that has eight images of two classes, one of an ugly name."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    for name in ("Merging", "Sb (barred)"):
        Path("sky", name).mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(f"sky/{name}/{number}.png", rng.integers(0, 256, (20, 16, 3), dtype=np.uint8))
    Path("sky/Merging/0.png").rename("sky/Merging/<script>alert(1)<!--&.png")

    def run(inputs: str, *words: str) -> int:
        given = [f"model={tiny_package}", f"inputs=[{inputs}]", "trainer.device=cpu", *words]
        return job.explore(composed_as(ExploreConfig, "explore", given), OUT, "explore it")

    return run


def data_of_page() -> dict[str, Any]:
    page = (OUT / "explore.html").read_text(encoding="utf-8")
    (script,) = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    found: dict[str, Any] = json.loads(script)
    return found


def listed() -> list[dict[str, str]]:
    with (OUT / "label_next.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_the_page_has_what_the_model_says_and_neighbours_by_its_own_features(explore, tiny_package):
    assert explore("sky", "labels=folder") == 0
    data = data_of_page()
    predictor = load(tiny_package)
    images = np.stack([predictor.preparation.file(Path(name)) for name in data["ids"]])
    said = predictor.classify(images)
    assert data["prediction"] == said.predicted.tolist()
    np.testing.assert_allclose(data["uncertainty"], said.uncertainty, atol=6e-4)
    assert [data["classes"][label] for label in data["label"]] == [name.split("/")[1] for name in data["ids"]]
    assert all(len(row) == 7 and place not in row for place, row in enumerate(data["neighbours"]))
    assert sorted(data["chosen"]) == list(range(8))
    rows = listed()
    assert [row["path"] for row in rows] == [data["ids"][place] for place in data["chosen"]]
    assert {row["known_label"] for row in rows} == {"Merging", "Sb (barred)"}


def test_nothing_on_the_page_comes_from_a_name_or_from_outside(explore):
    assert explore("sky") == 0
    page = (OUT / "explore.html").read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert any("<script>alert(1)<!--&" in name for name in data_of_page()["ids"])
    assert not re.search(r"(src|href)=.?https?:|url\(.?https?:|@import|fetch\(", page)


def test_labels_may_be_known_of_some_images_alone(explore, caplog):
    names = sorted(str(path) for path in Path("sky/Sb (barred)").iterdir())
    caplog.set_level("INFO")
    Path("sky.csv").write_text("path,kind\n" + "\n".join(f"{name},{'ring' if '0' in name else ''}" for name in names))
    assert explore("sky.csv", "labels=kind", "label_next=2") == 0
    rows = listed()
    assert len(rows) == 2
    assert all(row["known_label"] == "" and not row["path"].endswith("0.png") for row in rows)
    data = data_of_page()
    assert [data["classes"][label] if label >= 0 else "" for label in data["label"]] == ["ring", "", "", ""]
    assert "Labels that are no class of the model: 'ring'" in caplog.text


def test_of_too_many_images_some_are_drawn_the_same_by_each_seed(explore):
    assert explore("sky", "max_images=3") == 0
    first = data_of_page()
    assert len(first["ids"]) == 3
    assert explore("sky", "max_images=3") == 0
    assert data_of_page() == first


def test_a_broken_file_is_named_and_the_rest_is_shown(explore, caplog):
    Path("sky/broken.png").write_bytes(b"no image")
    assert explore("sky") == 1
    assert "broken.png" in caplog.text
    assert len(data_of_page()["ids"]) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("nowhere",), "nowhere"),
        (("sky", "labels=kind"), "labels=kind is no column of the inputs, and not 'folder'"),
        (("sky", "max_images=1"), "'max_images' is 1; it must be"),
    ],
)
def test_what_cannot_be_explored_is_told_and_leaves_no_page(explore, words, message):
    with pytest.raises(AstroclfError, match=message):
        explore(*words)
    assert not OUT.exists()


@pytest.fixture
def answers(explore: Explore, tiny_package: Path) -> Path:
    """A table that `predict` wrote of those images, beside which nothing is needed but the model and the images."""
    Path("sky.csv").write_text(
        "path,kind\n" + "\n".join(f"{path},{path.parent.name}" for path in Path("sky").rglob("*.png"))
    )
    given = [
        f"model={tiny_package}",
        "inputs=sky.csv",
        "output=out/answers.parquet",
        "features=true",
        "trainer.device=cpu",
    ]
    assert predict(composed_as(PredictConfig, "predict", given), "predict it") == 0
    return Path("out/answers.parquet")


def explore_alone(table: Path, *words: str) -> int:
    given = [f"model={table}", "trainer.device=cpu", *words]
    return job.explore(composed_as(ExploreConfig, "explore", given), OUT, "explore it")


def test_a_table_of_answers_is_explored_without_asking_the_network_again(explore, answers, monkeypatch):
    assert explore("sky.csv", "labels=kind") == 0
    asked = data_of_page()

    def refuse(*_: object) -> None:
        raise AssertionError("the network is asked about all images")

    monkeypatch.setattr(Predictor, "classify", refuse)
    assert explore_alone(answers, "labels=kind") == 0
    read = data_of_page()
    assert len(read["ids"]) == 8
    assert read.pop("x") == pytest.approx(asked.pop("x"), abs=0.02)
    assert read.pop("y") == pytest.approx(asked.pop("y"), abs=0.02)
    assert read == asked


def test_embeddings_of_another_model_are_refused(explore, answers):
    table = parquet.read_table(answers)
    parquet.write_table(table.set_column(table.column_names.index("f_1"), "f_1", [[9.0] * len(table)]), answers)
    with pytest.raises(ConfigError, match="are not what this model makes of these images"):
        explore(str(answers))


def test_a_table_of_answers_alone_asks_for_the_model_and_one_with_the_model_needs_nothing_else(explore, answers):
    Path("out/answers.parquet.json").unlink()
    with pytest.raises(ConfigError, match="astroclf explore MODEL .*answers.parquet"):
        explore_alone(answers)
    assert explore(str(answers)) == 0
    assert len(data_of_page()["ids"]) == 8


def test_images_without_an_answer_are_left_out_and_counted(explore, answers, caplog):
    cv2.imwrite("sky/Merging/later.png", np.arange(300, dtype=np.uint8).reshape(10, 10, 3))
    with Path("sky.csv").open("a") as file:
        file.write("\nsky/Merging/later.png,Merging")
    assert explore_alone(answers) == 0
    assert "1 of 9 images have no answer" in caplog.text
    assert len(data_of_page()["ids"]) == 8
