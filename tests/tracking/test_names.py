from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from astroclf.tracking.names import flatten, text, valid_name


@given(st.text(max_size=300))
def test_mlflow_takes_every_name(name: str) -> None:
    _validate_metric_name(valid_name(name))
    _validate_param_name(valid_name(name))


def test_good_names_stay_as_they_are() -> None:
    for name in ("test/In-between Round Smooth/accuracy", "loss.gamma", "step"):
        assert valid_name(name) == name


def test_nested_configuration_gets_the_keys_that_people_type() -> None:
    config: dict[str, Any] = {"loss": {"gamma": 2.0, "options": {}}, "dataset": {"classes": ["a", "b"]}, "resume": None}
    assert flatten(config) == {"loss.gamma": 2.0, "loss.options": {}, "dataset.classes": ["a", "b"], "resume": None}


def test_values_are_readable_and_fit() -> None:
    assert [text(value, 20) for value in (None, True, 0.1, "a", ["x", 1])] == ["null", "true", "0.1", "a", '["x", 1]']
    assert text("x" * 50, 20) == "x" * 19 + "…"
