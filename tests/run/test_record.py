"""What the list of runs says of a run."""

from __future__ import annotations

import pytest

from astroclf.run.record import chosen
from astroclf.settings.network import BackboneSettings
from astroclf.settings.training import LossSettings
from astroclf.settings.yaml_files import yaml_values


def loss(name: str, **changes: float) -> LossSettings:
    values = yaml_values(f"loss/{name}") | changes
    return LossSettings(target=values.pop("_target_"), **values)


@pytest.mark.parametrize("name", ["focal", "cb_focal", "cross_entropy"])
def test_a_component_goes_by_the_name_of_its_yaml_whatever_one_changes_in_it(name: str) -> None:
    assert chosen(loss(name)) == chosen(loss(name, soft_labels=True)) == name


def test_two_yaml_files_of_one_class_are_told_apart_by_their_values() -> None:
    assert chosen(loss("cb_focal", gamma=1.0)) == "cb_focal"
    assert chosen(loss("focal", gamma=1.0)) == "focal"


def test_a_component_without_a_yaml_goes_by_the_name_of_its_class() -> None:
    assert chosen(BackboneSettings(target="their_package.networks.WideNet")) == "WideNet"
