from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param_name

from astroclf.tracking.names import limited_text, valid_name

NAMES = st.text(st.one_of(st.sampled_from("/._x3F?!"), st.characters()), max_size=30)  # much of what has a meaning


@given(st.one_of(NAMES, st.text(min_size=200, max_size=400)))
def test_mlflow_takes_every_name(name: str) -> None:
    _validate_metric_name(valid_name(name))
    _validate_param_name(valid_name(name))
    assert len(valid_name(name)) <= 250


@settings(max_examples=1000)
@given(NAMES)
def test_every_name_can_be_told_from_what_mlflow_gets(name: str) -> None:
    codes = re.sub("_x([0-9A-F]+)_", lambda code: chr(int(code[1], 16)), valid_name(name))
    assert codes == (name or "_")


def test_names_that_look_alike_stay_apart() -> None:
    names = ["Sa?", "Sa!", "Sa_", "Sa_x3F_", "a/b", "a//b", "/a/b", "a/./b", "", "_", "_x5F_", "_x_"]
    names += ["x" * 300, "x" * 299 + "y"]
    assert len({valid_name(f"test/{name}/accuracy") for name in names}) == len(names)


def test_good_names_stay_as_they_are() -> None:
    for name in ("test/In-between Round Smooth/accuracy", "loss.gamma", "flux_x_ray", "test/Sa/Sb/recall", "val/星系"):
        assert valid_name(name) == name


def test_values_are_readable_and_fit() -> None:
    values = (None, True, 0.1, "a", ["x", 1])
    assert [limited_text(value, 20) for value in values] == ["null", "true", "0.1", "a", '["x", 1]']
    assert limited_text("x" * 50, 20) == "x" * 19 + "…"
