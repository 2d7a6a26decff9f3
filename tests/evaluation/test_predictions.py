from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from astroclf.errors import DataError
from astroclf.evaluation.predictions import Predictions, read_predictions, write_predictions


def test_what_was_right_and_what_was_not(predictions: Predictions) -> None:
    assert predictions.predicted.tolist() == [0, 0, 1, 1, 1, 2]
    assert predictions.confusion.tolist() == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    assert predictions.mistakes(5).tolist() == [5, 2]
    assert predictions.mistakes(1).tolist() == [5]
    merging, smooth, barred = predictions.by_class()
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
    one = Predictions(names, ids, probabilities, uncertainty, labels)
    other = one.take(order)
    assert one.confusion.tolist() == other.confusion.tolist()
    assert one.confusion.sum() == count
    assert np.trace(one.confusion) == one.right.sum() == sum(row.right for row in one.by_class())


def test_predictions_come_back_from_the_file(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", predictions)
    table = pd.read_csv(tmp_path / "predictions.csv")
    assert list(table.columns) == [
        "id",
        "label",
        "prediction",
        "p_Merging",
        "p_Round Smooth",
        "p_Sb <barred>",
        "uncertainty",
        "confidence",
    ]
    assert table["id"].tolist() == predictions.ids.tolist()
    assert table["label"].tolist() == ["Merging"] * 3 + ["Round Smooth"] * 3
    assert table["prediction"].tolist() == [predictions.classes[index] for index in predictions.predicted]
    np.testing.assert_allclose(table.iloc[:, 3:6].to_numpy(), predictions.probabilities, atol=1e-6)
    np.testing.assert_allclose(table["uncertainty"], predictions.uncertainty, atol=1e-6)


def test_tables_that_do_not_fit_together_are_a_bug(predictions: Predictions) -> None:
    with pytest.raises(ValueError, match="lengths differ"):
        replace(predictions, ids=predictions.ids[:3])


def test_ids_with_commas_stay_one_field(predictions: Predictions, tmp_path: Path) -> None:
    write_predictions(tmp_path / "predictions.csv", predictions)
    with open(tmp_path / "predictions.csv", newline="") as file:
        assert {len(row) for row in csv.reader(file)} == {8}


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.parquet"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_file_is_read_as_it_was_meant(predictions: Predictions, name: str, labelled: bool, tmp_path: Path) -> None:
    close = predictions.probabilities.copy()
    close[0] = [0.49999999, 0.50000001, 0.0]  # equal in the seven digits of CSV
    said = replace(predictions, probabilities=close, labels=predictions.labels if labelled else None)
    write_predictions(tmp_path / name, said)
    found = read_predictions(tmp_path / name)
    assert found.classes == said.classes
    assert found.predicted[0] == 1
    assert found.predicted.tolist() == said.predicted.tolist()
    assert found.ids.tolist() == said.ids.tolist()
    assert found.truth.tolist() == said.truth.tolist() if labelled else found.labels is None
    atol = 0 if name.endswith(".parquet") else 1e-6
    np.testing.assert_allclose(found.probabilities, said.probabilities, rtol=0, atol=atol)
    np.testing.assert_allclose(found.uncertainty, said.uncertainty, rtol=0, atol=atol)
    np.testing.assert_allclose(found.confidence, said.confidence, rtol=0, atol=atol)
    assert found.sets is None


@pytest.mark.parametrize("name", ["predictions.csv", "predictions.parquet"])
def test_prediction_sets_come_back_whatever_the_classes_are_called(
    predictions: Predictions, name: str, tmp_path: Path
) -> None:
    sets = np.array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 0]], bool)
    scores = np.linspace(0.3, 0.9, 6)
    said = replace(predictions, classes=("a", "a|b", "c, d"), sets=sets, scores=scores)
    assert said.set_names.tolist() == ["a|a|b", "a|b", "a|b|c, d", "a|a|b|c, d", "a|c, d", ""]
    write_predictions(tmp_path / name, said)
    found = read_predictions(tmp_path / name)
    assert found.sets is not None
    assert found.sets.tolist() == sets.tolist()
    np.testing.assert_allclose(found.confidence, scores)
    assert found.take([2, 0]).set_names.tolist() == ["a|b|c, d", "a|a|b"]


def test_images_without_labels_are_not_judged(predictions: Predictions) -> None:
    with pytest.raises(ValueError, match="no labels"):
        replace(predictions, labels=None).metrics()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "id,label,prediction,p_a\n",
        "id,label,prediction,p_a\n1,a,b\n",
        "id,label\n1,a\n",
        "id,label,prediction,p_a\n1,a,a,1\n",
        "id,label,prediction,p_a,uncertainty\n1,a,a,1,0\n1,a,a,1,0\n",
        b"\xff\xfe\x00",
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, content: str | bytes) -> None:
    path = tmp_path / "predictions.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=r"predictions\.csv"):
        read_predictions(path)
    path.unlink()
    with pytest.raises(DataError, match=r"predictions\.csv cannot be read"):
        read_predictions(path)
