from __future__ import annotations

import html
import io
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
from rich.console import Console

from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report import draw_plots, results_table, write_report
from astroclf.util.terminal import console
from astroclf.util.text import visible
from tests.util.nasty_names import ANY_NAME

METRICS = {"test/accuracy": 4 / 6, "test/macro_f1": 0.5, "test/loss": float("nan")}


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    (tmp_path / "history.csv").write_text("epoch,lr,val/loss\n1.0,0.1,2.0\n2.0,0.1,1.0\n")
    (tmp_path / "config.yaml").write_text("loss:\n  gamma: 2.0  # <b>\n")
    return tmp_path


def report(run_folder: Path, predictions: Predictions, metrics: Mapping[str, float] = METRICS, **options: Any) -> str:
    path = write_report(
        run_folder,
        predictions,
        metrics,
        title="galaxies & <stars>",
        command="python -m astroclf.train 'x=[a,b]'",
        **options,
    )
    return path.read_text(encoding="utf-8")


def test_the_report_is_one_file_that_asks_nothing_of_the_network(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    draw_plots(run_folder, predictions, images)
    page = report(run_folder, predictions, images=images)
    sources = re.findall(r'(?:src|href|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    assert len(sources) >= 6  # curves, confusion, reliability, uncertainty and two pictures
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in page
    assert not re.search(r"https?://", page)


def test_the_report_says_what_came_out_and_how_to_repeat_it(
    run_folder: Path, predictions: Predictions, images: np.ndarray
) -> None:
    draw_plots(run_folder, predictions, images)
    beside = {f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()}
    facts = {"torch": "2.15", "test fingerprint": "f00d"}
    page = report(run_folder, predictions, METRICS | beside, images=images, facts=facts)
    words = html.unescape(page)
    for text in (
        "0.667", "95 %: 0.223 – 0.957", "4 of 6 test images",
        "guessing would get 50 % of them right, always saying Merging 50 %",
        "python -m astroclf.train 'x=[a,b]'", "gamma: 2.0", "torch", "f00d",
        "g.jpg", "2 of 2 wrong among 6 images", "Sb <barred>", "galaxies & <stars>",
    ):  # fmt: skip
        assert text in words, text


def test_the_report_names_the_class_to_look_at(tmp_path: Path, predictions: Predictions) -> None:
    few = predictions.take([0, 1, 5])
    words = html.unescape(report(tmp_path, few))
    assert "Best: Merging (100%); worst: Round Smooth (0%), most often taken for Sb <barred>." in words


def test_names_from_a_data_set_cannot_write_into_the_page(run_folder: Path, predictions: Predictions) -> None:
    page = report(run_folder, predictions)
    assert "Sb <barred>" not in page
    assert "<stars>" not in page
    assert "  # <b>" not in page


def test_tags_are_closed(run_folder: Path, predictions: Predictions, images: np.ndarray) -> None:
    class Checker(HTMLParser):
        stack: list[str] = []  # noqa: RUF012

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img"):
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    draw_plots(run_folder, predictions)
    checker = Checker()
    checker.feed(report(run_folder, predictions, images=images, facts={"a": 1}))
    assert checker.stack == []


def test_a_run_without_mistakes_figures_or_pictures_is_reported_too(tmp_path: Path, predictions: Predictions) -> None:
    right = predictions.take(slice(0, 2))
    page = report(tmp_path, right)
    assert "There is none among the 2 test images" in page


def test_the_table_in_the_terminal_shows_every_class(predictions: Predictions) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    metrics = {"test/accuracy": 4 / 6, "test/loss": float("nan"), "test/macro_f1": 0.5}
    metrics |= {f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()}
    console.print(results_table(metrics, predictions))
    lines = console.export_text()
    for text in (
        "accuracy",
        "0.667",
        "0.223 – 0.957",
        "by guessing each class equally often",
        "by always saying Merging",
        "0.094 – 0.992",
        "macro F1",
        "mean uncertainty where wrong",
        "Merging",
        "2 of 3",
        "Sb <barred>",
        "0 of 0",
        "–",
    ):
        assert text in lines


def test_judging_needs_no_tracking_libraries() -> None:
    others = ("mlflow", "hydra", "omegaconf", "optuna")
    code = f"import sys, astroclf.evaluation.report; sys.exit(any(name in sys.modules for name in {others}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@hypothesis.settings(max_examples=25)
@given(names=st.lists(ANY_NAME, min_size=2, max_size=5, unique=True))
def test_tables_and_reports_hold_every_name_as_it_is(
    tmp_path_factory: pytest.TempPathFactory, names: list[str]
) -> None:
    count = len(names)
    predictions = Predictions(
        classes=tuple(names),
        ids=np.array(names, dtype=object),
        probabilities=np.roll(np.eye(count), 1, axis=0),  # all wrong
        uncertainty=np.zeros(count),
        labels=np.arange(count),
    )
    file = io.StringIO()
    console(file=file, width=1000).print(results_table(METRICS, predictions, title=names[0]))
    page = Cells()
    page.feed(report(tmp_path_factory.mktemp("run"), predictions))
    cells = {"".join(cell.split()) for cell in page.cells}
    for name in names:
        assert visible(name).strip() in file.getvalue()
        shown = "".join(visible(name, keep="\n\t").split())
        assert any(cell == shown or cell.startswith(f"{shown}inthefigures") for cell in cells)


class Cells(HTMLParser):
    """The text of every cell of a page, as a browser has it."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("td", "figure"):
            self.cells.append("")

    def handle_data(self, data: str) -> None:
        if self.cells:
            self.cells[-1] += data
