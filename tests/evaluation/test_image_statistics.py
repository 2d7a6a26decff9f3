"""What is measured of images: each statistic follows what it is named after, and nothing that only looks like it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from astroclf.evaluation.image_statistics import measure, said_of, spread_evenly, statistics_of, typical

SIDE = 48


def galaxies(
    count: int = 12, *, sky: float = 30, noise: float = 3, radius: float = 4, light: float = 120, color=(1, 1, 1)
) -> np.ndarray:
    """Round Gaussian sources on a noisy sky, (N, SIDE, SIDE, 3) uint8."""
    rng = np.random.default_rng(0)
    y_HW, x_HW = np.indices((SIDE, SIDE)) - SIDE / 2
    source_HW1 = light * np.exp(-(x_HW**2 + y_HW**2) / (2 * radius**2))[..., None]
    pictures = [sky + source_HW1 * np.array(color) + rng.normal(0, noise, (SIDE, SIDE, 1)) for _ in range(count)]
    return np.clip(np.rint(pictures), 0, 255).astype(np.uint8)


def medians(images: np.ndarray) -> dict[str, float]:
    return {name: float(np.median(values)) for name, values in measure(images).items()}


def test_statistics_are_in_the_units_that_their_labels_say() -> None:
    found = medians(galaxies())
    assert found["background"] == pytest.approx(30, abs=1)
    assert found["noise"] == pytest.approx(3, rel=0.1)
    assert found["fwhm"] == pytest.approx(2.355 * 4, rel=0.1)
    assert found["radius"] == pytest.approx(1.177 * 4, rel=0.15)  # a Gaussian's, of which the faint rim is cut
    assert found["contrast"] == pytest.approx(120, rel=0.1)
    assert found["saturated"] == found["black"] == 0


@pytest.mark.parametrize(
    ("change", "name", "factor"),
    [
        ({"noise": 6}, "noise", 2),
        ({"radius": 8}, "fwhm", 2),
        ({"radius": 6}, "radius", 1.5),
        ({"light": 60}, "contrast", 0.5),
    ],
)
def test_a_change_is_seen_in_its_own_statistic_by_its_own_factor(change, name, factor) -> None:
    assert medians(galaxies(**change))[name] / medians(galaxies())[name] == pytest.approx(factor, rel=0.15)


def test_a_blur_takes_noise_and_fine_detail_and_leaves_the_background() -> None:
    sharp = galaxies()
    blurred = np.stack([cv2.GaussianBlur(image, (0, 0), 1.5) for image in sharp])
    before, after = medians(sharp), medians(blurred)
    assert after["noise"] < 0.2 * before["noise"]
    assert after["detail"] < 0.5 * before["detail"]
    assert after["background"] == pytest.approx(before["background"], abs=1)


def test_the_color_of_an_object_is_not_that_of_the_sky() -> None:
    red = galaxies(color=(1, 0.5, 0.25))
    found = medians(red)
    assert found["color_0"] == pytest.approx((1 - 0.5) / (1 + 0.5), abs=0.03)
    assert medians(galaxies())["color_0"] == pytest.approx(0, abs=0.01)
    tinted = np.clip(galaxies() + np.array([20, 0, 0]), 0, 255).astype(np.uint8)
    assert medians(tinted)["color_0"] == pytest.approx(0, abs=0.01)


def test_padding_to_a_square_is_no_sky() -> None:
    padded = galaxies()
    padded[:, :10] = padded[:, -10:] = 0
    found = medians(padded)
    assert found["background"] == pytest.approx(30, abs=1)
    assert found["noise"] == pytest.approx(3, rel=0.1)
    assert found["black"] == pytest.approx(20 / SIDE)


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
@pytest.mark.parametrize("value", [0, 7, 255])
def test_any_number_of_bands_is_measured_and_an_empty_image_gives_numbers(channels: int, value: int) -> None:
    found = measure(np.full((2, 16, 16, channels), value, np.uint8))
    assert list(found) == list(statistics_of(channels))
    assert all(np.isfinite(values).all() and values.shape == (2,) for values in found.values())


def test_differences_are_said_as_people_say_them() -> None:
    known = statistics_of(3)
    assert said_of(known["noise"], 4.2, 2.0) == "the noise is 2.1 times higher"
    assert said_of(known["radius"], 2.0, 3.0) == "the objects are 1.5 times smaller"
    assert said_of(known["background"], 10, 30) == "the background is 20 grey levels darker"
    assert said_of(known["color_0"], -0.1, 0.02) == "the objects are 12 points stronger in green"
    assert said_of(known["noise"], 2.0, 2.0) == ""
    assert typical(known["saturated"], np.array([0, 0, 0.3])) == pytest.approx(0.1)  # whose median is 0


def test_images_are_taken_evenly_from_the_first_to_the_last() -> None:
    assert spread_evenly(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread_evenly(101, 3).tolist() == [0, 50, 100]
    assert len(spread_evenly(0)) == 0
