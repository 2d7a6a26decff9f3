from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from astroclf.evaluation.predictions import Results, results_table, write_metrics, write_predictions


def test_what_was_right_and_what_was_not(results: Results) -> None:
    assert results.predictions.tolist() == [0, 0, 1, 1, 1, 2]
    assert results.confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    assert results.mistakes(5).tolist() == [5, 2]
    assert results.mistakes(1).tolist() == [5]
    merging, smooth, barred = results.by_class()
    assert (merging.images, merging.right, merging.accuracy, merging.precision) == (3, 2, pytest.approx(2 / 3), 1.0)
    assert (smooth.accuracy, smooth.precision, smooth.f1) == (pytest.approx(2 / 3),) * 3
    assert barred.images == 0
    assert math.isnan(barred.accuracy)
    assert barred.precision == 0.0


@given(st.integers(1, 40), st.integers(2, 6), st.integers(0, 2**31))
def test_the_order_of_images_changes_no_figure(count: int, classes: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = tuple(f"class {index}" for index in range(classes))
    labels, probabilities = rng.integers(0, classes, count), rng.dirichlet(np.ones(classes), count)
    uncertainty, order = rng.random(count), rng.permutation(count)
    ids = np.arange(count).astype(str)
    one = Results(names, ids, labels, probabilities, uncertainty)
    other = Results(names, ids[order], labels[order], probabilities[order], uncertainty[order])
    assert one.confusion.tolist() == other.confusion.tolist()
    assert one.confusion.sum() == count
    assert np.trace(one.confusion) == one.right.sum() == sum(row.right for row in one.by_class())


def test_predictions_come_back_from_the_file(results: Results, tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", results)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert list(table.columns) == [
        "id",
        "label",
        "prediction",
        "p_Merging",
        "p_Round Smooth",
        "p_Sb <barred>",
        "uncertainty",
    ]
    assert table["id"].tolist() == results.ids.tolist()
    assert table["label"].tolist() == ["Merging"] * 3 + ["Round Smooth"] * 3
    assert table["prediction"].tolist() == [results.classes[index] for index in results.predictions]
    np.testing.assert_allclose(table.iloc[:, 3:6].to_numpy(), results.probabilities, atol=1e-6)
    np.testing.assert_allclose(table["uncertainty"], results.uncertainty, atol=1e-6)


def test_metrics_are_valid_json_in_a_fixed_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_metrics(
        path,
        {
            "test/loss": float("nan"),
            "test/accuracy": np.float32(0.5),
            "run/images": np.int64(3),
            "run/fingerprint": "f00",
        },
    )

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    metrics = json.loads(path.read_text(), parse_constant=refuse)
    assert metrics == {"run/fingerprint": "f00", "run/images": 3, "test/accuracy": 0.5, "test/loss": None}
    assert list(metrics) == sorted(metrics)
    with pytest.raises(TypeError, match="flat"):
        write_metrics(path, {"nested": {"a": 1}})


def test_the_table_in_the_terminal_shows_every_class(results: Results) -> None:
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(results_table({"test/accuracy": 4 / 6, "test/loss": float("nan"), "test/macro_f1": 0.5}, results))
    lines = console.export_text()
    for text in (
        "accuracy",
        "0.667",
        "macro F1",
        "mean uncertainty where wrong",
        "Merging",
        "2 of 3",
        "Sb <barred>",
        "0 of 0",
        "–",
    ):
        assert text in lines


def test_tables_that_do_not_fit_together_are_a_bug(results: Results) -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        Results(results.classes, results.ids[:3], results.labels, results.probabilities, results.uncertainty)


def test_ids_with_commas_stay_one_field(results: Results, tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", results)
    with open(tmp_path / "predictions.csv", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {7}
