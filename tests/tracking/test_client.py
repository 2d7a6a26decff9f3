from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from astroclf.tracking.client import hide_password, limited_text, valid_name


@given(st.text(max_size=300))
def test_mlflow_takes_every_name(name: str) -> None:
    _validate_metric_name(valid_name(name))
    _validate_param_name(valid_name(name))


def test_good_names_stay_as_they_are() -> None:
    for name in ("test/In-between Round Smooth/accuracy", "loss.gamma", "step"):
        assert valid_name(name) == name


def test_values_are_readable_and_fit() -> None:
    values = (None, True, 0.1, "a", ["x", 1])
    assert [limited_text(value, 20) for value in values] == ["null", "true", "0.1", "a", '["x", 1]']
    assert limited_text("x" * 50, 20) == "x" * 19 + "…"


def test_passwords_do_not_reach_messages() -> None:
    assert hide_password("postgresql://me:secret@host/db") == "postgresql://me:***@host/db"
    assert hide_password("http://host:5000") == "http://host:5000"
