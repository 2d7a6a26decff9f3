"""Which labels are one class, and which class a name that was typed means."""

from __future__ import annotations

import unicodedata

import pytest

from astroclf.data.readers.classes import choose_classes, label_key, look_alikes, match_names, unique_names
from astroclf.errors import ConfigError, DataError

APART = ["SB", "Sb", "S0-", "S0", "-5", "5", "star", "Star", "S0-a", "S0a", "1e3", "1000", "ring", "ring ", "0.5"]


def test_labels_that_are_other_texts_are_other_classes():
    assert len({label_key(name) for name in APART}) == len(APART)
    assert choose_classes(APART, None, [], "here") == tuple(APART)
    assert choose_classes(APART, APART[::-1], [], "here") == tuple(APART[::-1])


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1.0"), ("01", "1"), ("-2", "-2.00"), ("+3", "3"), ("-0.0", "0"), (".50", "0.5"), ("100", "100.")],
)
def test_numbers_are_compared_as_numbers(one, other):
    assert label_key(one) == label_key(other)


def test_the_forms_of_unicode_are_one_class():
    assert label_key(unicodedata.normalize("NFD", "étoile")) == label_key("étoile")


def test_a_typed_name_may_be_spelled_otherwise_where_that_leaves_one_class():
    known = ["Black Hole", "star", "SB", "Sb", "S0-"]
    assert match_names(["black_hole", "STAR", "Sb"], known, "key") == {
        "black_hole": "Black Hole", "STAR": "star", "Sb": "Sb",
    }  # fmt: skip
    assert match_names(["S0"], known, "key") == {}
    with pytest.raises(ConfigError, match="key names `sb`, which could be any of the classes `SB`, `Sb`"):
        match_names(["sb"], known, "key")
    assert match_names(["SB", "sb"], known, "key") == {"SB": "SB", "sb": "Sb"}
    with pytest.raises(ConfigError, match="names `Star` and `STAR`, but there is only `star`"):
        match_names(["Star", "STAR"], known, "key")


def test_names_that_look_alike_are_found():
    names = ["black hole", "Black_Hole", "S0", "S0-", "ring", "ring ", "-5", "5"]
    assert look_alikes(names) == [("black hole", "Black_Hole"), ("ring", "ring ")]


def test_what_cannot_be_chosen():
    with pytest.raises(ConfigError, match="twice"):
        unique_names(["1", "1.0"], "dataset.classes")
    with pytest.raises(DataError, match="did you mean `star`"):
        choose_classes(["star", "galaxy"], ["stars"], [], "here")
    with pytest.raises(DataError, match="leaves no class"):
        choose_classes(["star"], None, ["Star"], "here")
