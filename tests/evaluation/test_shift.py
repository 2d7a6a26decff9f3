"""How far two sets of images are apart: alike where they are drawn alike, and told where they are not."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from astroclf.evaluation.image_statistics import measure
from astroclf.evaluation.plots import plot_shift
from astroclf.evaluation.shift import Shift, separability, shift_between
from tests.evaluation.test_image_statistics import galaxies


def varied(count: int, seed: int) -> np.ndarray:
    """Sources of many sizes and brightnesses."""
    rng = np.random.default_rng(seed)
    each = [galaxies(1, radius=rng.uniform(2, 6), light=rng.uniform(60, 200))[0] for _ in range(count)]
    return np.clip(np.stack(each) + rng.normal(0, 1, (count, 48, 48, 1)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def ours() -> np.ndarray:
    return varied(60, 0)


@pytest.fixture(scope="module")
def noisier(ours) -> Shift:
    noisy = np.clip(varied(60, 1) + np.random.default_rng(2).normal(0, 9, ours.shape), 0, 255).astype(np.uint8)
    return shift_between(measure(noisy), measure(ours), "the training images")


def test_what_differs_is_said_with_how_much_and_the_largest_first(noisier) -> None:
    assert (noisier.differences[0].name, noisier.differences[0].distance) == ("noise", 1)
    assert noisier.sentences[0].startswith("Beside the training images, the noise is ")
    assert "times higher" in noisier.sentences[0]
    assert noisier.by_statistics.auroc > 0.95
    assert "image by image" in noisier.sentences[1]
    assert noisier.metrics()["noise/ks"] == 1


def test_sets_that_are_drawn_alike_cannot_be_told_apart(ours) -> None:
    shift = shift_between(measure(varied(60, 3)), measure(ours), "others")
    assert shift.sentences[0] == "No statistic is far from that of others."
    assert shift.by_statistics.interval.low <= 0.5 <= shift.by_statistics.interval.high + 0.05
    assert "cannot be told apart" in shift.sentences[1]


def test_copies_are_not_told_apart_by_statistics_and_are_by_what_a_model_makes_of_them(ours) -> None:
    rng, statistics = np.random.default_rng(0), measure(ours)
    embeddings = rng.normal(size=(60, 16)), rng.normal(1.5, 1, (60, 16))
    shift = shift_between(statistics, statistics, "themselves", embeddings)
    assert shift.by_statistics.auroc == pytest.approx(0.5, abs=0.02)  # 0, if a copy were in another fold
    assert shift.by_embedding.auroc > 0.95
    assert shift.clearest is shift.by_embedding
    assert set(shift.to_plain()["auroc"]) == {"statistics", "embedding"}


def test_a_handful_of_images_is_compared_with_nothing(ours) -> None:
    assert shift_between(measure(ours[:9]), measure(ours), "others") is None


def test_a_difference_that_chance_makes_is_not_called_one(ours) -> None:
    few = shift_between(measure(ours[:12]), measure(varied(12, 5)), "others")
    assert all(not few.is_real(each) for each in few.differences)
    assert {row[-1] for row in few.rows()} == {"may be chance"}


def test_every_statistic_has_its_panel(noisier, tmp_path: Path) -> None:
    picture = cv2.imread(str(plot_shift(noisier, tmp_path / "shift.png")))
    assert picture.shape[1] > 1500
    assert (picture.min(axis=2) < 240).any(axis=0).mean() > 0.8


def test_a_classifier_tells_normal_distributions_apart_as_well_as_can_be() -> None:
    rng = np.random.default_rng(1)
    found = separability(rng.normal(size=(300, 2)), rng.normal([1.0, 0], 1, (300, 2)))
    assert found.auroc == pytest.approx(0.76, abs=0.06)  # Phi(1 / sqrt 2)
