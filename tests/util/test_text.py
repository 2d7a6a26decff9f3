from __future__ import annotations

import math
from typing import Any

from astroclf.util.text import clock, closest, did_you_mean, flatten, nearest


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
