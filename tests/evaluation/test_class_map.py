"""Classes of a model and of a data set, brought to common ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from astroclf.errors import ConfigError
from astroclf.evaluation.class_map import ClassMap, common_classes, mapped_predictions, read_class_map
from astroclf.evaluation.predictions import Predictions

TO_TWO = ClassMap({"Merging": None, "Round Smooth": "smooth", "Sb <barred>": "spiral", "E": "smooth"})


def test_probabilities_of_classes_that_become_one_add_up(predictions):
    merged = ClassMap({"Merging": "other", "Round Smooth": "smooth", "Sb <barred>": "other"})
    said = mapped_predictions(predictions, merged)
    assert said.classes == ("other", "smooth")
    np.testing.assert_allclose(said.probabilities[:, 1], predictions.probabilities[:, 1])
    np.testing.assert_allclose(said.probabilities.sum(axis=1), 1)
    np.testing.assert_allclose(said.uncertainty, 1 - said.probabilities.max(axis=1))


def test_a_class_that_is_left_out_gives_its_probability_to_the_others_in_proportion(predictions):
    said = mapped_predictions(predictions, TO_TWO)
    np.testing.assert_allclose(said.probabilities[1], [0.2 / 0.3, 0.1 / 0.3])
    sure = replace(predictions, probabilities=np.array([[1.0, 0.0, 0.0]] * 6))
    np.testing.assert_allclose(mapped_predictions(sure, TO_TWO).probabilities, 0.5)


def test_a_common_class_is_in_a_set_if_one_of_its_classes_is(predictions):
    sets = np.array([[True, False, False], [False, True, False], [False, False, True]] * 2)
    merged = ClassMap({"Merging": "other", "Round Smooth": "smooth", "Sb <barred>": "other"})
    said = mapped_predictions(replace(predictions, sets=sets), merged)
    assert said.sets[:3].tolist() == [[True, False], [False, True], [True, False]]


def test_the_same_classes_in_another_order_keep_what_was_said_of_each_image(predictions):
    order = ClassMap({name: name for name in reversed(predictions.classes)})
    said = mapped_predictions(replace(predictions, chosen=predictions.predicted), order)
    assert [said.classes[k] for k in said.predicted] == [predictions.classes[k] for k in predictions.predicted]
    np.testing.assert_array_equal(said.uncertainty, predictions.uncertainty)
    np.testing.assert_allclose(said.probabilities, predictions.probabilities[:, ::-1])


def test_a_name_is_understood_in_any_spelling_and_common_ones_need_no_entry():
    assert TO_TWO.of(["round_smooth", "spiral", "merging"], "it").tolist() == [0, 1, -1]


def test_names_that_differ_in_case_alone_stay_apart():
    cased = ClassMap({"SB": "barred", "Sb": "late"})
    assert cased.of(["Sb", "SB"], "it").tolist() == [1, 0]


def test_a_class_without_a_place_is_refused_by_its_name():
    with pytest.raises(ConfigError, match="`Irr`, `dE` of the data set. Add them with one of the common classes"):
        common_classes(TO_TWO, {"m": ["Round Smooth"]}, ["E", "Irr", "dE"])
    with pytest.raises(
        ConfigError, match=r"`Irr`, which a does not know; it knows E, S0\. Write into a file .*`Irr: null`"
    ):
        common_classes(None, {"a": ["E", "S0"]}, ["E", "Irr"])


def test_models_of_other_classes_need_a_map_and_of_another_order_none():
    assert common_classes(None, {"a": ["E", "S0"], "b": ["S0", "E"]}, ["S0"]).classes == ("E", "S0")
    with pytest.raises(ConfigError, match="a and b know different classes"):
        common_classes(None, {"a": ["E", "S0"], "b": ["E", "Sa"]}, ["E"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("map.yaml", "E: smooth\nSa: spiral\nIrr: null\n"),
        ("map.json", '{"E": "smooth", "Sa": "spiral", "Irr": null}'),
        ("map.csv", "class,common\nE,smooth\nSa,spiral\nIrr,\n"),
    ],
)
def test_a_map_is_read_from_a_file_of_any_form(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    assert read_class_map(str(tmp_path / name)).given == {"E": "smooth", "Sa": "spiral", "Irr": None}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nowhere.yaml", "cannot be read as a map"),
        ({}, "must give a common class"),
        ({"E": ["a"]}, "give one name"),
        ({"E": "smooth", "Sa": "smooth"}, "there must be two"),
        ({"Black Hole": "a", "black_hole": "b"}, "are one class"),
    ],
)
def test_what_is_no_map_is_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        read_class_map(given)


def test_a_name_that_nobody_has_is_found():
    assert TO_TWO.unused(["Merging", "Round Smooth", "Sb <barred>"], ["elliptical"]) == ["E"]


def test_predictions_of_no_labels_are_mapped_too(predictions):
    said = mapped_predictions(replace(predictions, labels=None), TO_TWO)
    assert isinstance(said, Predictions)
    assert said.labels is None
