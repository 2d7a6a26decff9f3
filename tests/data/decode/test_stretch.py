"""Three bands as one color picture: Lupton's asinh keeps ratios, and the sky black."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from astroclf.data.decode import stretch
from astroclf.data.decode.stretch import background, stretch_bands
from astroclf.errors import ImageError
from astroclf.settings.tone import ToneSettings

LUPTON = ToneSettings.with_defaults(color="lupton")
SKY = np.array([300.0, 120.0, 40.0])


def stretched(bands_PHW: np.ndarray, settings: ToneSettings) -> np.ndarray:
    """Stretch as the settings say, or by ZScale and asinh where they leave it open."""
    interval = "zscale" if settings.interval == "auto" else settings.interval
    return stretch_bands(bands_PHW, interval, "asinh", settings, "a.fits")


def galaxy(color=(3.0, 2.0, 1.0), peak: float = 500.0, side: int = 48) -> np.ndarray:
    """A round galaxy of one color throughout, on three skies, with noise; (3, H, W)."""
    y, x = np.mgrid[:side, :side] - side / 2
    profile = peak * np.exp(-np.hypot(x, y) / 4)
    noise = np.random.default_rng(0).normal(0, 2, (3, side, side))
    return np.array(color)[:, None, None] * profile + SKY[:, None, None] + noise


def test_lupton_shows_one_color_from_core_to_rim_and_a_black_sky():
    picture = stretched(galaxy(), LUPTON).astype(float)
    assert picture.shape == (48, 48, 3)
    for row in (24, 20, 17):  # a factor of six in flux
        red, green, blue = picture[row, 24]
        assert green / red == pytest.approx(2 / 3, abs=0.06)
        assert blue / red == pytest.approx(1 / 3, abs=0.06)
    assert np.median(picture) < 15
    assert picture.max() > 200
    # whereas bands with a black and white of their own have the same brightness, whatever their flux
    apart = stretched(galaxy(), ToneSettings.with_defaults(interval="minmax"))[24, 24].astype(int)
    assert np.ptp(apart) < 25


def test_the_unit_and_the_zero_of_the_flux_do_not_matter():
    picture = stretched(galaxy(), LUPTON).astype(int)
    other = stretched(galaxy() * 1e-9 - 1e-6, LUPTON)
    assert np.abs(other - picture).max() <= 1


def test_given_values_are_astropys():
    from astropy.visualization import make_lupton_rgb

    bands = galaxy()
    settings = ToneSettings.with_defaults(
        color="lupton", lupton_stretch=70.0, lupton_q=5.0, lupton_minimum=SKY.tolist()
    )
    expected = make_lupton_rgb(*(bands - SKY[:, None, None]), stretch=70.0, Q=5.0)
    np.testing.assert_array_equal(stretched(bands, settings), expected)
    one = ToneSettings.with_defaults(color="lupton", lupton_stretch=70.0, lupton_minimum=40)
    expected = make_lupton_rgb(*(bands - 40), stretch=70.0, Q=8)
    np.testing.assert_array_equal(stretched(bands, one), expected)


@pytest.mark.parametrize("fill", ["zero", "background"])
def test_unknown_pixels_and_bands_are_black_and_spoil_nothing(fill):
    settings = ToneSettings.with_defaults(color="lupton", fill=fill)
    bands = galaxy()
    whole = stretched(bands, settings).astype(int)
    bands[:, 2:6, 2:6] = np.nan
    spoilt = stretched(bands, settings)
    assert spoilt[2:6, 2:6].max() == 0
    assert np.abs(spoilt[10:] - whole[10:]).max() <= 3
    bands[1] = np.nan
    spoilt = stretched(bands, settings)
    assert spoilt[..., 1].max() == 0
    assert spoilt[24, 24, 0] > 200


def test_lupton_of_another_number_of_bands_is_refused():
    for count in (1, 2, 4):
        with pytest.raises(ImageError, match=rf"a\.fits: the image has {count} band.*color=lupton"):
            stretched(np.random.default_rng(0).random((count, 8, 8)), LUPTON)


def test_bands_that_cancel_each_other_out_still_give_a_picture():
    wave = np.arange(64.0).reshape(8, 8) - 31.5
    picture = stretched(np.stack([wave, -wave, np.zeros((8, 8))]), LUPTON)
    assert picture.shape == (8, 8, 3)


@pytest.mark.parametrize("curve", ["linear", "asinh", "sqrt", "log"])
def test_the_curves_are_astropys(curve):
    from astropy import visualization

    name = {"linear": "Linear", "asinh": "Asinh", "sqrt": "Sqrt", "log": "Log"}[curve]
    unit = np.linspace(0, 1, 300).reshape(1, 15, 20)
    expected = np.rint(255 * np.asarray(getattr(visualization, f"{name}Stretch")()(unit[0])))
    drawn = stretch_bands(unit, (0.0, 1.0), curve, ToneSettings.with_defaults(), "a")[..., 0]
    assert np.abs(drawn - expected).max() <= 1


@pytest.mark.parametrize("interval", ["sigma", "percentile", "minmax", "zscale"])
@pytest.mark.parametrize("color", ["per_band", "lupton"])
def test_a_large_image_is_drawn_in_strips_and_takes_little_memory_beside_itself(monkeypatch, interval, color):
    bands, settings = galaxy(side=64).astype(np.float32), ToneSettings.with_defaults(color=color)
    bands[0, :3] = np.nan
    whole = stretch_bands(bands, interval, "sqrt", settings, "a")
    monkeypatch.setattr(stretch, "STRIP_PIXELS", 640)
    np.testing.assert_array_equal(stretch_bands(bands, interval, "sqrt", settings, "a"), whole)
    monkeypatch.setattr(stretch, "SAMPLED_PIXELS", 1024)
    drawn = stretch_bands(bands, interval, "sqrt", settings, "a").astype(int)
    assert np.abs(drawn - whole).mean() < 4  # black and white are found among a quarter of the pixels
    monkeypatch.undo()
    large = np.random.default_rng(0).normal(0, 1, (1, 2048, 2048)).astype(np.float32)
    large[0, 0, 0] = np.nan
    if color == "per_band":
        tracemalloc.start()
        stretch_bands(large, interval, "sqrt", settings, "a")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2.5 * large.nbytes


def test_background_and_noise_are_those_under_sources_and_of_counts():
    random = np.random.default_rng(0)
    level, noise = background(np.r_[random.normal(50, 4, 20_000), random.uniform(80, 9000, 800)])
    assert level == pytest.approx(50, abs=0.3)
    assert noise == pytest.approx(4, rel=0.05)
    assert background(np.r_[np.zeros(990), np.arange(1, 11)]) == (0, pytest.approx(0.5, abs=0.5))
    assert background(np.full(10, 7.0)) == (7, 0)
