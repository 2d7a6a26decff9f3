"""What is kept of a model's training images: it goes with the model, flags other images, and old models lack it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from astroclf.errors import WeightsError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.profile import PROFILE_FILE, read_profile
from astroclf.registry.load import load
from astroclf.registry.package import write_again
from tests.tiny import noise, with_profile


@pytest.fixture
def known(tiny_package: Path, tmp_path: Path) -> Path:
    return with_profile(tiny_package, tmp_path / "known")


def test_answers_say_how_unlike_the_training_images_are(known: Path) -> None:
    table = load(known).predict([*noise(10, 7), *noise(10, 8, spread=70)])
    assert table["unlike_training"].tolist()[:10].count(True) <= 2
    assert table["unlike_training"].tolist()[10:] == [True] * 10
    assert (table["novelty"] > 1).tolist() == table["unlike_training"].tolist()


def test_an_image_is_as_novel_in_any_batch_and_beside_its_turned_views(known: Path, tmp_path: Path) -> None:
    model, images = load(known, precision="fp32"), noise(9, 3)
    whole = model.classify(images).novelty
    np.testing.assert_allclose(model.classify(images, batch_size=2).novelty, whole, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.profile.novelty(model.embed(images)), whole, rtol=1e-4, atol=1e-4)


def test_a_model_of_before_has_no_novelty_and_answers_all_the_same(tiny_package: Path) -> None:
    model = load(tiny_package)
    assert model.profile is None
    assert "novelty" not in model.predict(noise(2, 0))


def test_an_image_that_cannot_be_read_has_no_novelty_either(known: Path) -> None:
    table = load(known).predict([noise(1, 0)[0], b"no image"], on_error="row")
    assert np.isnan(table["novelty"][1])
    assert table["error"][1]


def test_an_ensemble_has_the_mean_of_its_members_if_all_know(known: Path, tiny_package: Path, tmp_path: Path) -> None:
    other = load(with_profile(tiny_package, tmp_path / "other", seed=50))
    one, images = load(known), noise(4, 9, spread=50)
    said = Ensemble([one, other]).classify(images).novelty
    np.testing.assert_allclose(said, (one.classify(images).novelty + other.classify(images).novelty) / 2, rtol=1e-5)
    assert Ensemble([one, load(tiny_package)]).classify(images).novelty is None


def test_the_profile_is_read_back_as_it_was_written(known: Path) -> None:
    model = load(known)
    again = write_again(known.parent / "again", model)
    assert load(again).profile.digest == model.profile.digest != ""
    assert list(load(again).profile.statistics) == list(model.profile.statistics)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:200]),
        lambda path: path.write_bytes(b"no zip"),
        lambda path: np.savez(path, embeddings=np.zeros((3, 9), np.float16)),
        lambda path: np.savez(path, embeddings=np.full((3, 8), np.nan, np.float16)),
        lambda path: np.savez(path, embeddings=np.zeros((3, 8), np.float16), limit=np.float64(1)),
        lambda path: np.savez(path, embeddings=np.array([object()], object)),
    ],
)
def test_a_damaged_profile_is_refused_by_its_name(known: Path, damage) -> None:
    damage(known / PROFILE_FILE)
    with pytest.raises(WeightsError, match=r"profile\.npz is damaged"):
        load(known)


def test_the_profile_of_another_network_is_refused(known: Path) -> None:
    with pytest.raises(WeightsError, match="it is not of 7 features"):
        read_profile(known, 7, 3)
    with pytest.raises(WeightsError, match="it is not of 1 channels"):
        read_profile(known, 8, 1)
