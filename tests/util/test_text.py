from __future__ import annotations

import math
from datetime import datetime
from typing import Any

from astroclf.util.text import clock, closest, did_you_mean, flatten, nearest, roughly, until


def test_the_nearest_name_is_offered_or_all_where_none_is_near() -> None:
    assert nearest("gama", ["gamma", "beta"]) == "Did you mean 'gamma'?"
    assert nearest("x", ["gamma", "beta"]) == "Valid: beta, gamma."


def test_names_are_compared_by_what_matters_of_their_spelling() -> None:
    assert closest("BLACK HOLES", ["black_hole", "star"], lambda name: name.replace("_", " ").casefold()) == [
        "black_hole"
    ]
    assert closest("comet", ["black_hole", "star"]) == []


def test_a_sentence_ends_with_the_closest_name_or_a_full_stop() -> None:
    assert did_you_mean("galaxie", ["galaxy", "star"]) == "; did you mean `galaxy`?"
    assert did_you_mean("x", ["galaxy", "star"]) == "."


def test_nested_configuration_gets_the_keys_that_people_type() -> None:
    config: dict[str, Any] = {"loss": {"gamma": 2.0, "options": {}}, "dataset": {"classes": ["a", "b"]}, "resume": None}
    assert flatten(config) == {"loss.gamma": 2.0, "loss.options": {}, "dataset.classes": ["a", "b"], "resume": None}


def test_times_are_short() -> None:
    assert [clock(seconds) for seconds in (7.4, 187, 7387, None, math.nan)] == ["0:07", "3:07", "2:03:07", "–", "–"]


def test_times_as_people_say_them():
    said = [roughly(seconds) for seconds in (0.34, 41.2, 89, 95, 545, 7387, 36_500)]
    assert said == ["0.34 s", "41 s", "89 s", "1.6 min", "9.1 min", "2.1 h", "10 h"]


def test_an_end_on_another_day_is_told_with_the_day():
    now = datetime(2026, 11, 27, 22, 50)
    assert [until(seconds, now) for seconds in (60, 3600 * 4.5)] == ["22:51", "Sat 28 Nov 03:20"]
