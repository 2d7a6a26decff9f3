"""Parameters and values as people read them."""

from __future__ import annotations

import math

import pytest

from astroclf.sweep.view.wording import param_text, short_names, value_text


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        (["optimizer.lr", "loss"], ["lr", "loss"]),
        (["head.dropout", "backbone.dropout", "loss.beta"], ["head.dropout", "backbone.dropout", "beta"]),
        (["+loss.gamma", "a.b.c", "d.b.c"], ["gamma", "a.b.c", "d.b.c"]),
        (["loss", "x.loss"], ["loss", "x.loss"]),
    ],
)
def test_names_are_as_short_as_they_can_be_told_apart(keys, names):
    assert list(short_names(keys).values()) == names


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3e-4, "3e-4"), (8.3912e-4, "8.39e-4"), (0.9999, "0.9999"), (2.0, "2"), (0.02804, "0.028"), (0.0, "0"),
        (True, "true"), (None, "null"), (64, "64"), ("cb_focal", "cb_focal"), (-1e-5, "-1e-5"), (math.nan, "nan"),
    ],
)  # fmt: skip
def test_parameters_are_written_as_they_are_typed(value, text):
    assert param_text(value) == text


def test_values_are_short():
    assert [value_text(value) for value in (0.86424, 1.2e-5, 31234.5, None, math.inf)] == [
        "0.8642", "1.2e-05", "3.12e+04", "–", "inf"
    ]  # fmt: skip
