"""``astroclf explain`` from the command line, on a network with random weights."""

from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from astroclf.evaluation.predictions import Predictions
from astroclf.explain import main
from astroclf.inference.attribution import Attributions
from astroclf.use.explain.job import Explained
from astroclf.use.explain.pages import draw_sheets, explanation_report

CLASSES = ("Merging", "Round Smooth", "Sb (barred)")


@pytest.fixture
def night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of five pictures, one of which is damaged."""
    folder, rng = tmp_path / "night", np.random.default_rng(0)
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), rng.integers(0, 255, (20, 24, 3), np.uint8))
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("astroclf.util.logs.LogFile.emit", lambda _self, _record: None)  # a process would close it
    return folder


def rows_of(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "explanations.csv").read_text(encoding="utf-8").splitlines()))


def test_every_image_is_explained_for_its_own_class_and_a_broken_one_is_told(night, tiny_package, capsys):
    assert main([str(tiny_package), "night", "hydra.run.dir=out"]) == 1
    out = night.parent / "out"
    rows = rows_of(out)
    assert [row["path"] for row in rows] == [f"night/{number}.png" for number in range(4)] + ["night/broken.png"]
    for row in rows[:4]:
        assert row["asked"] == row["label"]
        assert float(row["probability"]) == pytest.approx(float(row["confidence"]))
        assert row["agreement"] == "" or -1 <= float(row["agreement"]) <= 1
    assert "damaged" in rows[4]["error"]
    assert "broken.png" in capsys.readouterr().out
    asked = {row["asked"] for row in rows[:4]}
    assert len(list((out / "sheets").glob("*.png"))) == len(asked)
    page = (out / "report.html").read_text(encoding="utf-8")
    assert page.count('alt="where the model looked"') == 4
    assert "night/broken.png" in page


def test_images_can_be_asked_about_any_class(night, tiny_package):
    words = [str(tiny_package), "night/0.png", "night/1.png", "occlusion=false", "hydra.run.dir=out"]
    assert main([*words, "classes=all"]) == 0
    rows = rows_of(night.parent / "out")
    assert [row["asked"] for row in rows] == [*CLASSES, *CLASSES]
    for image in (rows[:3], rows[3:]):
        assert sum(float(row["probability"]) for row in image) == pytest.approx(1, abs=1e-5)
    assert [path.name for path in sorted((night.parent / "out" / "sheets").iterdir())] == [
        "00_Merging.png", "01_Round_Smooth.png", "02_Sb_barred.png",
    ]  # fmt: skip


def test_of_many_images_some_are_taken_evenly(night, tiny_package):
    for number in range(4, 11):
        cv2.imwrite(str(night / f"{number}.png"), np.eye(8, dtype=np.uint8) * 200)
    (night / "broken.png").unlink()
    assert main([str(tiny_package), "night", "limit=3", "occlusion=false", "hydra.run.dir=out"]) == 0
    assert [row["path"] for row in rows_of(night.parent / "out")] == ["night/0.png", "night/4.png", "night/9.png"]


def test_page_and_sheets_show_the_most_probable_image_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probabilities = np.repeat([[0.2, 0.8], [0.7, 0.3], [0.5, 0.5]], 2, axis=0)  # three images, each asked about both
    ids = np.repeat(np.array(["a.png", "b.png", "c.png"], object), 2)
    said = Predictions(("one", "two"), ids, probabilities, np.zeros(6))
    found = Attributions(np.zeros((6, 8, 8, 3), np.uint8), np.zeros((6, 8, 8), np.float32))
    explained = Explained("model", said, np.array([0, 1] * 3), found, None, {})
    one, two = explanation_report(explained, "command").sections[:2]
    assert [sample.id for sample in one.samples] == ["b.png", "c.png", "a.png"]
    assert [sample.id for sample in two.samples] == ["a.png", "c.png", "b.png"]
    shown: list[str] = []
    monkeypatch.setattr(
        "astroclf.use.explain.pages.show_image", lambda _axes, _image, title, _color: shown.append(title)
    )
    draw_sheets(tmp_path, explained)
    assert shown[::2] == ["b.png", "c.png", "a.png", "a.png", "c.png", "b.png"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["night", "classes=[Merger]"], "the model knows no class `Merger`. Did you mean 'Merging'?"),
        (["night/broken.png"], "None of the 1 images could be read"),
        (["nihgt"], "Did you mean night?"),
        (["night", "limit=0"], "limit"),
    ],
)
def test_what_cannot_be_explained_is_said_in_one_paragraph(words, says, night, tiny_package, capsys):
    assert main([str(tiny_package), *words, "hydra.run.dir=out"]) == 2
    said = capsys.readouterr().err
    assert says in " ".join(said.split())
    assert said.count("Error:") == 1
    assert not (night.parent / "out" / "explanations.csv").exists()
