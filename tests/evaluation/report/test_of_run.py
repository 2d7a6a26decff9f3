from __future__ import annotations

import html
import re
import subprocess
import sys
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import Pictures
from astroclf.evaluation.report.of_run import Background, draw_plots, run_report
from astroclf.evaluation.report.page import write_report
from astroclf.util.text import visible
from tests.util.nasty_names import ANY_NAME

METRICS = {"test/accuracy": 4 / 6, "test/macro_f1": 0.5, "test/loss": float("nan")}
VOID = ("meta", "img")


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "history.csv").write_text("step,epoch,lr,val/loss\n5,1.0,0.1,2.0\n10,2.0,0.1,1.0\n")
    (tmp_path / "config.yaml").write_text("loss:\n  gamma: 2.0  # <b>\n")
    return tmp_path


def report(
    run_folder: Path,
    predictions: Predictions,
    metrics: Mapping[str, float] = METRICS,
    pictures: Pictures | None = None,
    **background: Any,
) -> str:
    known = Background("galaxies & <stars>", "python -m astroclf.train 'x=[a,b]'", **background)
    page = run_report(run_folder, predictions, metrics, known, pictures)
    return write_report(run_folder / "report.html", page).read_text(encoding="utf-8")


def test_the_report_is_one_file_that_asks_nothing_of_the_network(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    pictures = Pictures(images, np.arange(6.0), np.arange(6.0))
    draw_plots(run_folder, predictions, pictures)
    page = report(run_folder, predictions, pictures=pictures)
    fetched = re.findall(r'(?:src|url|srcset)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert len(fetched) >= 7  # three curves, reliability, uncertainty and two pictures
    assert all(source.startswith("data:image/") for source in fetched)
    assert not re.search(r"<(link|iframe|object|base)\b|@import", page)
    addresses = set(re.findall(r'https?://[^"\s]+', page))  # opened by whoever follows a link
    assert {f'href="{address}"' in page for address in addresses} == {True}


def test_the_report_says_what_came_out_and_how_to_repeat_it(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    draw_plots(run_folder, predictions, Pictures(images))
    beside = {f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()}
    timed = {"train/steps": 10, "train/best_step": 5, "train/seconds": 61.0, "run/test_seconds": 2.0}
    page = report(
        run_folder,
        predictions,
        METRICS | beside | timed,
        Pictures(images),
        what={"data": "/my <data>", "model": "models:/g/4 stays challenger"},
        links={"model": "http://server/#/models/g/versions/4"},
        changes=[("optimizer.lr", "0.001", "0.003")],
        champion="models:/g/3",
        facts={"torch": "2.15", "test_fingerprint": "f00d"},
    )
    words = html.unescape(page)
    for text in (
        "0.667", "95 %: 0.223 – 0.957", "guessing 0.500", "4 of 6 test images",
        "guessing would get 50 % of them right, and always saying Merging would get 50 %",
        "python -m astroclf.train 'x=[a,b]'", "gamma: 2.0", "torch", "f00d", "test fingerprint",
        "g.jpg", "2 of 2 wrong among 6 images", "Sb <barred>", "galaxies & <stars>", "/my <data>",
        'href="http://server/#/models/g/versions/4"', "Beside the champion, models:/g/3", "optimizer.lr", "0.003",
        "10 steps, the best weights after step 5", "1:01 training, 0:02 test",
    ):  # fmt: skip
        assert text in words, text


def test_the_report_names_the_class_to_look_at(tmp_path: Path, predictions: Predictions) -> None:
    few = predictions.take([0, 1, 5])
    words = html.unescape(report(tmp_path, few))
    assert "Best: Merging (100%); worst: Round Smooth (0%), most often taken for Sb <barred>." in words


def test_names_from_a_data_set_cannot_write_into_the_page(run_folder: Path, predictions: Predictions) -> None:
    page = report(run_folder, predictions, what={"data": "<script>alert(1)</script>"}, champion='"><b>')
    assert "Sb <barred>" not in page
    assert "<stars>" not in page
    assert "  # <b>" not in page
    assert "<script>alert" not in page
    assert '"><b>' not in page


class Page(HTMLParser):
    """The tags of a page, each closed, and the text of its cells as a browser has it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.cells: list[str] = []
        self.buttons: dict[str, str] = {}  # what each opens, and what it is called
        self.popovers: set[str] = set()
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        known = dict(attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th", "figure"):
            self.cells.append("")
        if tag == "button" and "popovertarget" in known and "aria-label" in known:
            self.buttons.setdefault(known["popovertarget"], known["aria-label"])
        if "popover" in known:
            self.popovers.add(known["id"])
        assert tag != "img" or known["alt"]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data


def test_tags_are_closed_and_every_picture_is_told_in_words(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    pictures = Pictures(images, heat_maps={2: images[2]})
    draw_plots(run_folder, predictions, pictures)
    Page(report(run_folder, predictions, pictures=pictures, facts={"a": 1}, what={"b": "c"}, champion="d"))


def test_each_cell_of_the_confusion_matrix_opens_its_images(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    page = Page(report(run_folder, predictions, pictures=Pictures(images)))
    assert page.buttons == {
        "cell-0-0": "2 images of Merging, rightly named",
        "cell-0-1": "1 image of Merging taken for Round Smooth",
        "cell-1-1": "2 images of Round Smooth, rightly named",
        "cell-1-2": "1 image of Round Smooth taken for Sb <barred>",
    }
    assert page.popovers == page.buttons.keys()
    assert not Page(report(run_folder, predictions)).buttons  # no pictures: nothing to open


def test_a_run_without_mistakes_figures_or_pictures_is_reported_too(tmp_path: Path, predictions: Predictions) -> None:
    right = predictions.take(slice(0, 2))
    page = report(tmp_path, right)
    assert "There is none among the 2 test images" in page


def test_judging_needs_no_tracking_libraries() -> None:
    others = ("mlflow", "hydra", "omegaconf", "optuna")
    code = f"import sys, astroclf.evaluation.report.of_run; sys.exit(any(name in sys.modules for name in {others}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@hypothesis.settings(max_examples=25)
@given(names=st.lists(ANY_NAME, min_size=2, max_size=5, unique=True))
def test_reports_hold_every_name_as_it_is(tmp_path_factory: pytest.TempPathFactory, names: list[str]) -> None:
    count = len(names)
    predictions = Predictions(
        classes=tuple(names),
        ids=np.array(names, dtype=object),
        probabilities=np.roll(np.eye(count), 1, axis=0),  # all wrong
        uncertainty=np.zeros(count),
        labels=np.arange(count),
    )
    page = Page(report(tmp_path_factory.mktemp("run"), predictions))
    cells = {"".join(cell.split()) for cell in page.cells}
    for name in names:
        shown = "".join(visible(name, keep="\n\t").split())
        assert any(cell == shown or cell.startswith(f"{shown}inthefigures") for cell in cells)
