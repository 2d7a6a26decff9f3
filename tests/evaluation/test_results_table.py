from __future__ import annotations

import io

import hypothesis
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from astroclf.evaluation.intervals import intervals_and_baselines
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.results_table import results_table
from astroclf.util.terminal import console
from astroclf.util.text import visible
from tests.util.nasty_names import ANY_NAME

METRICS = {"test/accuracy": 4 / 6, "test/macro_f1": 0.5, "test/loss": float("nan")}


def test_the_table_in_the_terminal_shows_every_class(predictions: Predictions) -> None:
    screen = Console(width=100, record=True, file=io.StringIO())
    beside = {f"test/{name}": value for name, value in intervals_and_baselines(predictions).items()}
    screen.print(results_table(METRICS | beside, predictions))
    lines = screen.export_text()
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


@hypothesis.settings(max_examples=25)
@given(names=st.lists(ANY_NAME, min_size=2, max_size=5, unique=True))
def test_the_table_holds_every_name_as_it_is(names: list[str]) -> None:
    count = len(names)
    predictions = Predictions(
        classes=tuple(names),
        ids=np.array(names, dtype=object),
        probabilities=np.roll(np.eye(count), 1, axis=0),
        uncertainty=np.zeros(count),
        labels=np.arange(count),
    )
    file = io.StringIO()
    console(file=file, width=1000).print(results_table(METRICS, predictions, title=names[0]))
    for name in names:
        assert visible(name).strip() in file.getvalue()
