"""What another survey does to an image, in its own units: magnitudes, widths, noise; and JPEG beside libjpeg's."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest
import torch

from astroclf.data.augment.jpeg import compress, tables_of
from astroclf.data.augment.on_cpu import sky_noise
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.augment.survey import FWHM, Survey, survey_steps
from astroclf.errors import ConfigError
from tests.data.augment.recipes import recipe

SKY, SIDE, COUNT = 40, 64, 24
SOFTENING = 0.1


def taken(pixels_HWC: np.ndarray, **terms: Any) -> tuple[np.ndarray, Survey]:
    """Take the same image many times as other surveys would; brightness 0 to 255, and what each did."""
    augmentation = recipe(degrade=1.0, **terms)
    return brightness(augmentation, pixels_HWC), steps_for(augmentation, pixels_HWC)


def brightness(augmentation: Augmentation, pixels_HWC: np.ndarray) -> np.ndarray:
    images = torch.from_numpy(np.repeat(pixels_HWC[None], COUNT, axis=0))
    out_BCHW = augmentation(images, augmentation.draw(0, 0, np.arange(COUNT)))
    return (out_BCHW.permute(0, 2, 3, 1).numpy() * 0.5 + 0.5) * 255


def steps_for(augmentation: Augmentation, pixels_HWC: np.ndarray) -> Survey:
    height, width, bands = pixels_HWC.shape
    draws = augmentation.draw(0, 0, np.arange(COUNT))
    survey = survey_steps(augmentation, draws, bands, (height, width), width, (height, width))
    assert survey is not None
    return survey


def quiet_sky(bands: int = 1, side: int = SIDE) -> np.ndarray:
    return np.full((side, side, bands), SKY, dtype=np.uint8)


def noisy_sky(sigma: float, side: int = SIDE, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).normal(0, sigma, (side, side, 1))
    return np.rint(SKY + noise).astype(np.uint8)


def with_square(bands: int = 1) -> np.ndarray:
    pixels = quiet_sky(bands)
    pixels[24:40, 24:40] = 140
    return pixels


def flux(brightness: np.ndarray | float) -> np.ndarray:
    return SOFTENING * np.sinh(np.asarray(brightness) / 255 * np.arcsinh(1 / SOFTENING))


def test_noise_of_the_sky_is_found_beside_stars_and_gradients() -> None:
    found = []
    for seed in range(10):
        pixels = noisy_sky(5.0, 100, seed) + np.linspace(0, 20, 100).astype(np.uint8)[None, :, None]
        pixels[:4, 50:60] = np.linspace(100, 255, 10).astype(np.uint8)[:, None]
        found.append(sky_noise(pixels)[0])
    assert np.mean(found) == pytest.approx(5, rel=0.06)
    assert max(found) < 6


@pytest.mark.parametrize("softening", [None, SOFTENING])
def test_a_loss_of_depth_makes_the_noise_as_much_greater_as_its_magnitudes_say(softening: float | None) -> None:
    pixels = noisy_sky(4.0)
    out, survey = taken(pixels, depth=0.75, softening=softening)
    added = survey.added_BC[:, 0]
    assert np.sqrt(1 + added**2).min() < 1.1
    assert 1.85 < np.sqrt(1 + added**2).max() <= 1.996  # 0.75 magnitudes
    expected = np.hypot(pixels.std(), added * sky_noise(pixels)[0])
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), expected, rtol=0.05)
    np.testing.assert_allclose(out.mean(axis=(1, 2, 3)), SKY, atol=1)


def test_seeing_and_dimming_leave_the_noise_as_it_was() -> None:
    pixels = noisy_sky(4.0)
    out, survey = taken(pixels, seeing=12.0, dimming=1.0)
    assert survey.gains_BC.min() < 0.5
    np.testing.assert_allclose(out.std(axis=(1, 2, 3)), pixels.std(), rtol=0.16)  # found from 250 differences


@pytest.mark.parametrize(
    ("reference", "pixel_scale", "largest"), [(SIDE, None, 6.0), (2 * SIDE, None, 3.0), (SIDE, 0.5, 12.0)]
)
def test_seeing_adds_in_quadrature_to_the_width_of_a_star(
    reference: int, pixel_scale: float | None, largest: float
) -> None:
    """6 pixels, or arcseconds, of an image of `reference_size`; the star is 5 pixels wide. Its light stays."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    star = np.rint(SKY + 200 * np.exp(-(x**2 + y**2) / 2 / (5 / FWHM) ** 2)).astype(np.uint8)[:, :, None]
    out, survey = taken(star, seeing=6.0, reference_size=reference, pixel_scale=pixel_scale)
    assert survey.kernels_BL is not None
    place = np.arange(survey.kernels_BL.shape[1]) - survey.kernels_BL.shape[1] // 2
    added = FWHM * np.sqrt((survey.kernels_BL * place**2).sum(axis=1))
    assert 0.9 * largest < added.max() <= largest
    peaks = out[:, SIDE // 2, SIDE // 2, 0] - SKY
    np.testing.assert_allclose(peaks, 200 * 5**2 / (5**2 + added**2), rtol=0.05)


def test_dimming_takes_light_above_the_sky_by_magnitudes_of_flux_and_not_of_brightness() -> None:
    out, survey = taken(with_square(), dimming=1.0, softening=SOFTENING)
    seen = flux(out[:, 28:36, 28:36].mean(axis=(1, 2, 3))) - flux(SKY)
    np.testing.assert_allclose(seen / (flux(140) - flux(SKY)), survey.gains_BC[:, 0], rtol=0.02)
    assert survey.gains_BC.min() == pytest.approx(10**-0.4, rel=0.1)
    np.testing.assert_allclose(out[:, :8].mean(axis=(1, 2, 3)), SKY, atol=0.5)


def test_zero_points_are_each_bands_own_and_leave_the_sky() -> None:
    out, survey = taken(with_square(3), zero_point=0.2)
    gains = (out[:, 28:36, 28:36].mean(axis=(1, 2)) - SKY) / 100
    np.testing.assert_allclose(gains, survey.gains_BC, atol=0.02)
    assert 10**-0.08 <= gains.min() < 0.87
    assert 1.15 < gains.max() <= 10**0.08 + 0.02
    assert np.abs(np.corrcoef(survey.gains_BC.T) - np.eye(3)).max() < 0.6


def test_a_gradient_rises_across_the_image_by_so_many_times_the_noise() -> None:
    pixels = noisy_sky(4.0)
    out, survey = taken(pixels, gradient=10.0)
    sigma = sky_noise(pixels)[0]
    for axis, drawn in ((1, survey.slopes_B2[:, 0]), (0, survey.slopes_B2[:, 1])):
        profile = (out - pixels)[:, :, :, 0].mean(axis=2 - axis)
        rise = np.polyfit(np.arange(SIDE), profile.T, 1)[0] * SIDE
        np.testing.assert_allclose(rise, drawn * sigma, atol=0.5)
    sizes = np.hypot(*survey.slopes_B2.T)
    assert sizes.min() < 1
    assert 9 < sizes.max() <= 10


def test_the_share_of_images_that_is_left_alone_is_as_it_was_to_the_bit() -> None:
    terms = {"seeing": 9.0, "depth": 0.7, "dimming": 0.5, "zero_point": 0.1, "gradient": 2.0, "jpeg": 50}
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    augmentation = recipe(degrade=0.5, **terms)
    out, chosen = brightness(augmentation, pixels), steps_for(augmentation, pixels).chosen_B
    assert 6 < chosen.sum() < 18
    plain = brightness(recipe(), pixels)[0]
    same = np.array([np.array_equal(image, plain) for image in out])
    np.testing.assert_array_equal(same, ~chosen)


def test_gaps_are_black_strips_and_discs_in_the_share_asked_for() -> None:
    pixels = torch.full((400, 50, 50, 1), 200, dtype=torch.uint8)
    augmentation = recipe(gaps=0.5)
    out = augmentation.to_uint8(augmentation(pixels, augmentation.draw(0, 0, np.arange(400))))[..., 0] == 0
    areas = out.mean(axis=(1, 2))
    assert 0.4 < (areas > 0).mean() < 0.55  # a disc may lie beyond the edge
    assert areas.max() <= 0.125
    rows, columns = out.all(axis=2).any(axis=1), out.all(axis=1).any(axis=1)
    for strips in (rows, columns):
        assert 0.08 < strips.mean() < 0.18
    assert not (rows & columns).any()
    assert (areas > 0)[~rows & ~columns].mean() > 0.25


def test_a_model_sees_its_images_as_they_are_whatever_it_was_trained_on() -> None:
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    kept = {"mean": [0.5], "std": [0.5]}
    assert torch.equal(recipe("survey", **kept)(images, None), recipe("none")(images, None))


# ---- JPEG ----------------------------------------------------------------------------------------------------------


def jpeg(image_HWC: np.ndarray, quality: int, kind: type = np.float32) -> np.ndarray:
    planes = image_HWC.transpose(2, 0, 1)[None].astype(kind)
    return compress(planes, tables_of(np.array([quality]), kind))[0].transpose(1, 2, 0)


def by_libjpeg(image_HWC: np.ndarray, quality: int) -> np.ndarray:
    grey = image_HWC.shape[2] == 1
    file = cv2.imencode(".jpg", image_HWC if grey else image_HWC[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    shown = cv2.imdecode(file, cv2.IMREAD_UNCHANGED)
    return shown[:, :, None] if grey else shown[:, :, ::-1]


def smooth(bands: int, size: int = 48) -> np.ndarray:
    """A picture whose bands are much alike, as those of galaxies."""
    random = np.random.default_rng(1)
    noise = random.normal(0, 300, (size, size, 1)) + random.normal(0, 60, (size, size, bands))
    return np.clip(cv2.GaussianBlur(noise, (0, 0), 2).reshape(noise.shape) + 128, 0, 255).astype(np.uint8)


@pytest.mark.parametrize("quality", [20, 50, 75, 95])
@pytest.mark.parametrize(("bands", "close"), [(1, 0.8), (3, 2.0)])  # libjpeg draws color between its halved pixels
def test_what_is_lost_is_what_libjpeg_loses(bands: int, close: float, quality: int) -> None:
    image = smooth(bands)
    ours, theirs = jpeg(image, quality), by_libjpeg(image, quality).astype(float)
    assert np.abs(ours - theirs).mean() < close
    lost, lost_there = (np.abs(shown - image).mean() for shown in (ours, theirs))
    assert lost == pytest.approx(lost_there, rel=0.1, abs=0.5)


@pytest.mark.parametrize("size", [16, 31, 40])
@pytest.mark.parametrize("bands", [1, 2, 3])
def test_every_number_format_gives_the_same_whole_numbers(bands: int, size: int) -> None:
    """Also of the hardest images: black and white at random."""
    image = 255 * np.random.default_rng(2).integers(0, 2, (size, size, bands), dtype=np.uint8)
    for quality in (1, 30, 60, 93, 100):
        np.testing.assert_array_equal(jpeg(image, quality), jpeg(image, quality, np.float64))


def test_a_flat_image_and_a_whole_quality_lose_nothing_to_speak_of() -> None:
    np.testing.assert_array_equal(jpeg(quiet_sky(3), 60), SKY)
    assert np.abs(jpeg(smooth(1), 100) - smooth(1)).max() <= 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"degrade": 1.5}, "augment.degrade=1.5"),
        ({"gaps": -0.1}, "share of the images"),
        ({"softening": 0.0}, "augment.softening=0.0"),
        ({"seeing": -1.0}, "largest change"),
        ({"pixel_scale": 0.0}, "arcseconds"),
        ({"jpeg": 0}, "1 to 99"),
    ],
)
def test_terms_that_cannot_work_are_named(options: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError, match=part):
        recipe(**options)
