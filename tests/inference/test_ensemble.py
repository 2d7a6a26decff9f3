"""Several models asked as one."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

import astroclf
from astroclf.errors import ConfigError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.registry.load import load
from tests.tiny import write_tiny_package

REVERSED = ["Sb (barred)", "Round Smooth", "Merging"]


@pytest.fixture
def packages(tmp_path: Path, tiny_backbone) -> list[Path]:
    """A model of 32 px that is calibrated and gives sets, and one of 48 px with its classes the other way round."""
    sharp = {"calibration": {"temperature": [0.2]}}
    sets = {"conformal": {"coverage": 0.9, "thresholds": [0.7] * 3, "ranks": [2] * 3}}
    first = write_tiny_package(tmp_path / "small", **sharp, **sets)
    second = write_tiny_package(tmp_path / "large", image_size=48, classes=REVERSED, reading={"crop": 24})
    return [first, second]


@pytest.fixture
def ensemble(packages: list[Path]) -> Ensemble:
    made = load(packages, device="cpu")
    assert isinstance(made, Ensemble)
    return made


def raw(count: int = 5, side: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_the_mean_is_of_calibrated_probabilities_by_the_names_of_classes(ensemble):
    said, (first, second) = ensemble.classify(raw()), ensemble.members
    one, other = first.classify(raw()), second.classify(raw())
    assert said.classes == first.classes
    np.testing.assert_allclose(said.probabilities, (one.probabilities + other.probabilities[:, ::-1]) / 2, atol=1e-7)
    assert np.abs(one.probabilities - other.probabilities[:, ::-1]).max() > 0.005


def test_confidence_and_uncertainty_are_of_the_mean_and_there_are_no_sets(ensemble):
    said = ensemble.classify(raw())
    np.testing.assert_allclose(said.confidence, said.probabilities.max(axis=1))
    np.testing.assert_allclose(said.uncertainty, 1 - said.confidence)
    assert said.sets is None
    assert ensemble.members[0].classify(raw()).sets is not None


def test_each_member_prepares_files_by_its_own_rules(ensemble, tmp_path):
    for number, image in enumerate(raw(3)):
        cv2.imwrite(str(tmp_path / f"{number}.png"), image)
    files = [tmp_path / f"{number}.png" for number in range(3)]
    table = ensemble.predict(files, batch_size=2)
    own = [[member.preparation.file(file) for file in files] for member in ensemble.members]
    assert [images[0].shape[0] for images in own] == [32, 48]
    said = ensemble.classify([np.stack(images) for images in own])
    np.testing.assert_allclose(table["p_Merging"], said.probabilities[:, 0], atol=1e-6)
    assert table["label"].tolist() == [said.classes[label] for label in said.predicted]
    assert ensemble.predict(iter(files))["p_Merging"].equals(table["p_Merging"])  # what can be gone through only once


def test_an_image_that_one_member_cannot_read_is_a_row_with_the_error(tmp_path, tiny_backbone):
    whole, cut = write_tiny_package(tmp_path / "whole"), write_tiny_package(tmp_path / "cut", reading={"crop": 10})
    fine, blank_centre = raw(2)
    blank_centre[10:30, 10:30] = 7
    together = load([whole, cut], device="cpu")
    table = together.predict([fine, blank_centre, fine], on_error="row")
    assert table["error"].isna().tolist() == [True, False, True]
    assert "constant" in table["error"][1]
    assert table["label"].notna().tolist() == [True, False, True]
    alone = together.predict([fine])
    np.testing.assert_allclose(table["p_Merging"][[0, 2]], alone["p_Merging"][[0, 0]], atol=1e-6)


def test_views_are_the_mean_of_the_members_views(ensemble):
    first, second = (member.views(raw()) for member in ensemble.members)
    np.testing.assert_allclose(ensemble.views(raw()), (first + second[..., ::-1]) / 2, atol=1e-6)


def test_models_of_other_classes_are_no_ensemble(tmp_path, tiny_package, tiny_backbone):
    other = write_tiny_package(tmp_path / "other", classes=["Merging", "Round Smooth", "Edge-on"])
    with pytest.raises(ConfigError, match=r"only one of them has Edge-on, Sb \(barred\)"):
        load([tiny_package, other], device="cpu")


def test_one_model_in_a_list_is_that_model(tiny_package):
    assert isinstance(astroclf.load([tiny_package], device="cpu"), Predictor)


def test_a_preparation_in_common_is_had_only_where_there_is_one(ensemble, tiny_package):
    with pytest.raises(ConfigError, match="their image size differs"):
        _ = ensemble.preparation
    assert load([tiny_package, tiny_package], device="cpu").preparation.image_size == 32


def test_an_ensemble_has_no_embedding(ensemble):
    with pytest.raises(ConfigError, match="has no embedding"):
        ensemble.features(raw())
