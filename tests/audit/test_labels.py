"""Classes by their names and sizes, and labels that a confident model disagrees with."""

from __future__ import annotations

import numpy as np

from astroclf.audit.labels import (
    Agreement,
    balance,
    class_findings,
    columns_of,
    like_classes,
    suspicious_labels,
    unknown_to_model,
)
from astroclf.data.catalog import Catalog
from tests.audit.planted import catalog

TABLE = Catalog(
    ids=np.array(["a", "b", "c", "d", "e"]), labels=np.array([0, 0, 1, 1, 2]), classes=("Black Hole", "star", "comet")
)
MODEL = ("star", "galaxy", "black_hole")  # another order, another spelling, a class more and one less
PROBABILITIES = np.array(
    [
        [0.2, 0.1, 0.7],  # a: agrees
        [0.6, 0.1, 0.3],  # b: star rather than black hole
        [0.1, 0.9, 0.0],  # c: galaxy rather than star
        [0.3, 0.3, 0.4],  # d: disagrees, but is not sure
        [0.0, 0.0, 1.0],  # e: its class is unknown to the model
    ]
)


def test_confident_disagreement_is_ranked_by_how_wide_it_is():
    trained_on = np.array([False, True, False, False, False])
    (found,) = suspicious_labels(TABLE, PROBABILITIES, MODEL, trained_on)
    assert [case.ids for case in found.cases] == [("c",), ("b",)]
    assert found.cases[0].values == {
        "predicted": "galaxy", "confidence": 0.9, "label_probability": 0.1, "class_accuracy": 0.0, "trained_on": False,
    }  # fmt: skip
    assert (
        found.cases[1].text == "said star 60%, Black Hole 30%, though trained on it; 50% of Black Hole are recognised"
    )
    assert found.cases[1].rows == (1,)


def test_a_model_that_agrees_finds_nothing():
    assert suspicious_labels(TABLE, PROBABILITIES[[0, 0, 3, 3, 4]], MODEL, np.zeros(5, bool)) == []


def test_classes_whose_names_look_alike_are_found():
    names = ("SB", "Sb", "S0", "S0-", "black hole", "Black_Hole")
    (found,) = like_classes(catalog([0, 1, 2, 3, 4, 4, 5], names))
    assert found.severity == "warning"
    assert [case.text for case in found.cases] == [
        "`SB` (1 image) and `Sb` (1 image)", "`black hole` (2 images) and `Black_Hole` (1 image)",
    ]  # fmt: skip
    assert like_classes(TABLE) == []


def test_a_model_that_knows_both_of_two_like_classes_judges_each_by_its_own():
    assert columns_of(("Sb", "SB", "S0", "-5"), ("SB", "S0-", "Sb", "5")).tolist() == [2, 0, -1, -1]


def test_classes_are_matched_by_name():
    assert columns_of(TABLE.classes, MODEL).tolist() == [2, 0, -1]
    (found,) = unknown_to_model(TABLE, MODEL)
    assert [case.labels for case in found.cases] == [("comet",)]
    assert unknown_to_model(TABLE, ("comet", *MODEL)) == []


def test_missing_and_unknown_classes_are_named_with_the_nearest():
    found = catalog([0, 0, 1, 2], ("Galaxy", "nebulae", "flats"))
    missing, unknown = class_findings(["galaxy", "nebula", "star"], ["Flats"], found)
    assert [case.labels for case in missing.cases] == [("nebula",), ("star",)]
    assert [case.text for case in unknown.cases] == ["nebulae: 1 image; did you mean `nebula`?"]
    assert class_findings(["star"], [], catalog([0], ("Star",))) == []


def test_imbalance_and_few_test_images():
    many = catalog([0] * 1001 + [1] * 10, ("star", "galaxy", "nobody"))
    severe, few = balance(many, np.arange(20))
    assert severe.cases[0].labels == ("star", "galaxy")
    assert {case.labels[0]: case.values["images"] for case in few.cases} == {"galaxy": 0, "nobody": 0}
    assert balance(catalog([0] * 1000 + [1] * 10), None) == []


def test_networks_that_do_no_better_than_guessing_are_told():
    table = Catalog(np.array([str(row) for row in range(60)]), np.repeat([0, 1], [40, 20]), ("star", "comet"))
    said = np.eye(2)[table.labels]
    said[0] = np.nan
    good = Agreement.of(table, said)
    assert (good.images, good.agreed, good.largest) == (59, 59, 39)
    assert good.sentence.startswith(
        "The networks agree with the label of 100% of the 59 images that they judged (94% to"
    )
    assert "guessing" not in good.sentence
    said[1:, 0], said[1:, 1] = 1, 0
    blind = Agreement.of(table, said)
    assert not blind.beats_guessing
    assert blind.sentence.endswith("agree with 66%. That is no better than guessing: their doubts mean nothing.")
