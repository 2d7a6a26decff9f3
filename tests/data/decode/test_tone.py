"""How numbers become grey: decided once for a data set, the same for each of its files, and said."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
import pytest

from astroclf.data.decode.tone import Tone, decide_tones, to_grey, tones_from_plain
from astroclf.data.decode.values import FITS, Values, numbers
from astroclf.settings.tone import ToneSettings

AUTO = ToneSettings.with_defaults()


def eight_bit(seed: int = 0, side: int = 24) -> np.ndarray:
    """A picture of all grey values but the last few, (H, W) uint8."""
    picture = np.random.default_rng(seed).integers(0, 250, (side, side), np.uint8)
    picture[0, :2] = 0, 249
    return picture


def decide(arrays: Iterable[np.ndarray], **tone) -> dict[str, Tone]:
    return decide_tones(map(numbers, arrays), ToneSettings.with_defaults(**tone))


def grey(array: np.ndarray, tones: dict[str, Tone], **tone) -> np.ndarray:
    return to_grey(numbers(array), tones, ToneSettings.with_defaults(**tone), "a.tif").image_HWC[..., 0]


def eight_bit_floats() -> np.ndarray:
    """A picture of 8 bits, kept as floats."""
    grey = np.clip(np.random.default_rng(0).normal(20, 4, (48, 48)), 0, 255).round()
    grey[20:26, 20:26] = 214
    return grey.astype(np.float32)


def radio(seed: int, peak: float = 100.0, side: int = 64) -> np.ndarray:
    """Noise of σ 1 and two small lobes, as interferometers see radio galaxies."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2 + random.uniform(-4, 4, (2, 1, 1))
    lobes = sum(np.exp(-((x - shift) ** 2 + y**2) / 2) for shift in (-3, 3))
    return (random.normal(0, 1, (side, side)) + peak * lobes).astype(np.float32)


def galaxy(seed: int, side: int = 48) -> np.ndarray:
    """Noise of σ 5 on a sky of 200, and a galaxy that fills its cut-out."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] - side / 2
    return (200 + random.normal(0, 5, (side, side)) + 2000 * np.exp(-np.hypot(x, y) / 5)).astype(np.float32)


def flux(array: np.ndarray) -> Values:
    return Values(array[..., None], FITS)


@pytest.mark.parametrize(
    ("dtype", "bits"),
    [("u2", 8), ("u2", 10), ("u2", 12), ("u2", 14), ("u2", 16), ("u4", 24), ("u4", 32), ("u8", 64), ("i2", 15)],
)
def test_integers_of_any_number_of_bits_look_like_their_8_bit_version(dtype, bits):
    whole = [eight_bit(seed) for seed in range(3)]
    scaled = [np.round(picture / 255 * (2.0**bits - 1)).astype(dtype) for picture in whole]
    tones = decide(scaled)
    for picture, array in zip(whole, scaled, strict=True):
        np.testing.assert_allclose(grey(array, tones).astype(int), picture, atol=1)


def test_bits_that_a_file_declares_are_believed():
    tones = decide_tones([Values((eight_bit().astype("u2") * 4)[..., None], "uint12")], AUTO)
    assert tones["uint12"].high == 4095
    assert decide([np.array([[True, False]])])["bool"].high == 1


def test_a_dark_file_among_12_bit_ones_stays_dark():
    bright, dark = eight_bit().astype("u2") * 16, eight_bit().astype("u2")
    tones = decide([bright, dark])
    assert tones["uint16"].high == 4095
    assert grey(dark, tones).max() <= 16


@pytest.mark.parametrize("stray", [1.02, -0.004, 1.2])
def test_a_float_picture_with_a_stray_pixel_looks_like_its_neighbours(stray):
    clean, spoilt = eight_bit(0).astype("f4") / 255, eight_bit(0).astype("f4") / 255
    spoilt[5, 5] = stray
    for sample in ([clean, spoilt], [spoilt]):
        tones = decide(sample)
        difference = grey(spoilt, tones) != grey(clean, tones)
        difference[5, 5] = False
        assert not difference.any()
        np.testing.assert_array_equal(grey(clean, tones), eight_bit(0))
    assert grey(spoilt, tones)[5, 5] == (255 if stray > 1 else 0)


def test_numbers_below_zero_or_far_beyond_one_are_measurements():
    unit = eight_bit().astype("f4") / 255
    hot = unit.copy()
    hot[3, 3] = 40.0
    for array in (unit - 0.5, hot, unit * 1000, unit * 0.01):  # of which the last would be black as a picture
        assert decide([array])["float"].interval == "zscale"
    assert decide([unit] * 11 + [hot])["float"].interval == "limits"  # one odd file among many
    assert decide([unit] * 5 + [unit * 1000] * 5)["float"].interval == "zscale"
    signed = eight_bit().astype("i2") - 100
    assert decide([signed])["int16"].interval == "zscale"


def test_sparse_images_of_high_range_show_the_source_and_not_the_noise():
    files = [radio(seed, peak) for seed, peak in enumerate((40, 100, 1000))]
    tones = decide_tones(map(flux, files), AUTO)
    assert (tones[FITS].interval, tones[FITS].stretch) == ("sigma", "sqrt")
    for file in files:
        picture = to_grey(flux(file), tones, AUTO, "a.fits").image_HWC[..., 0]
        assert np.mean(picture == 0) > 0.9
        assert picture[file.argmax() // 64, file.argmax() % 64] == 255
        assert np.mean(picture > 128) < 0.01


def test_galaxies_and_empty_fields_keep_their_faint_parts():
    noise = np.random.default_rng(0).normal(0, 1, (48, 48))
    for files in ([galaxy(seed) for seed in range(3)], [noise]):
        tone = decide_tones(map(flux, files), AUTO)[FITS]
        assert (tone.interval, tone.stretch) == ("zscale", "asinh")


def test_photon_counts_most_of_which_are_zero_are_sparse():
    random = np.random.default_rng(0)
    counts = random.poisson(0.02, (64, 64)).astype(np.float32)
    counts[30:33, 30:33] += random.poisson(30, (3, 3))
    tones = decide_tones([flux(counts)], AUTO)
    assert tones[FITS].interval == "sigma"
    picture = to_grey(flux(counts), tones, AUTO, "a.fits").image_HWC[..., 0]
    assert np.median(picture[30:33, 30:33]) > 150
    assert np.mean(picture == 0) > 0.9


def test_the_minority_of_another_kind_does_not_change_the_rule():
    files = [radio(seed) for seed in range(8)] + [galaxy(seed) for seed in range(2)]
    assert decide_tones(map(flux, files), AUTO)[FITS].interval == "sigma"


def test_black_lies_above_the_noise_by_so_many_sigma():
    settings = ToneSettings.with_defaults(interval="sigma", sigma=5, stretch="linear", percentile=100)
    tones = decide_tones([flux(radio(0))], settings)
    picture = to_grey(flux(radio(0)), tones, settings, "a.fits").image_HWC[..., 0]
    lit = radio(0)[picture > 0]
    assert 5 < lit.min() < 6.5  # the first of 256 levels begins somewhat above
    assert picture.max() == 255
    assert np.count_nonzero(picture == 255) == 1
    lower = to_grey(flux(radio(0)), tones, ToneSettings.with_defaults(interval="sigma", percentile=80), "a.fits")
    assert np.count_nonzero(lower.image_HWC == 255) > 5


def test_the_data_sets_own_percentiles_are_the_same_for_every_file():
    files = [np.full((32, 32), 100.0 * n) + np.linspace(0, 50, 1024).reshape(32, 32) - 300 for n in range(1, 6)]
    tones = decide(files, interval="dataset", percentile=98)
    tone = tones["float"]
    assert (tone.interval, tone.stretch) == ("limits", "asinh")
    pooled = np.concatenate([file.ravel() for file in files])
    np.testing.assert_allclose((tone.low, tone.high), np.percentile(pooled, [1, 99]))
    brightness = [grey(file, tones, interval="dataset").mean() for file in files]
    assert (np.diff(brightness) > 10).all()  # whereas a range of each file's own would make them all alike
    assert decide([eight_bit().astype("u2")], interval="dataset")["uint16"].stretch == "linear"
    assert decide([np.zeros((8, 8), "u2"), np.zeros((8, 8), "u2")], interval="dataset")["uint16"].high == 1


def test_declared_limits_and_stretch_win():
    tone = decide([eight_bit().astype("u2")], interval="limits", limits=[100, 200])["uint16"]
    assert (tone.interval, tone.low, tone.high, tone.stretch) == ("limits", 100, 200, "linear")
    assert grey(np.array([[50, 100, 150, 250]], "u2"), {"uint16": tone}).tolist() == [[0, 0, 128, 255]]
    assert decide([galaxy(0)], stretch="log")["float"].stretch == "log"
    assert decide([galaxy(0)], interval="minmax")["float"] == Tone(
        "minmax", "asinh", reason="dataset.tone.interval=minmax"
    )


def test_8_bit_pictures_are_left_alone_and_empty_ones_decide_nothing():
    assert decide([eight_bit()]) == {}
    assert decide_tones([flux(np.full((4, 4), np.nan))], AUTO) == {}
    np.testing.assert_array_equal(grey(eight_bit(), {}), eight_bit())


def test_a_kind_that_the_sample_lacks_is_decided_from_the_file_alone():
    tones = decide([eight_bit().astype("u2")])
    unit = eight_bit().astype("f4") / 255
    np.testing.assert_array_equal(grey(unit, tones), eight_bit())


def test_a_file_of_larger_numbers_than_the_sample_has_is_noted():
    tones = decide([eight_bit().astype("u2") * 16])
    bright = to_grey(numbers(eight_bit().astype("u2") * 257), tones, AUTO, "late.tif")
    assert [note.kind for note in bright.notes] == ["beyond white"]
    assert "late.tif: 9" in bright.notes[0].message
    assert "4095" in bright.notes[0].message
    assert to_grey(numbers(eight_bit().astype("u2") * 16), tones, AUTO, "a.tif").notes == ()


def test_the_decision_is_one_sentence_and_survives_json():
    for sample in ([eight_bit().astype("u2") * 16], [galaxy(0), galaxy(1)], [radio(0)]):
        tones = decide(sample)
        assert tones_from_plain(json.loads(json.dumps({k: tone.to_plain() for k, tone in tones.items()}))) == tones
    assert decide([eight_bit().astype("u2") * 16])["uint16"].sentence("uint16") == (
        "uint16 numbers become grey by: 0 is black and 4,095 white, stretch=linear (the largest number of the file is "
        "3,984; dataset.tone.interval=auto)."
    )
    sentence = decide_tones(map(flux, [radio(0), radio(1)]), AUTO)[FITS].sentence(FITS)
    assert sentence.startswith("FITS numbers become grey by: black above the noise of each file")
    assert "2 sampled files: sparse, " in sentence


def test_the_share_of_the_range_that_is_used_is_measured():
    dark = decide([eight_bit().astype("u2") * 2, np.full((24, 24), 60000, "u2")[:1, :1]])["uint16"]
    assert dark.used_share == pytest.approx(500 / 65535, rel=0.05)
    assert decide([eight_bit().astype("u2") * 257])["uint16"].used_share > 0.9
    assert decide([galaxy(0)])["float"].used_share is None
    outside = decide([galaxy(0)], interval="limits", limits=[0, 1])["float"]
    assert outside.used_share == 0  # all of it is white


def test_floats_that_are_8_bit_pictures_look_like_them_and_photon_counts_do_not():
    tone = decide([eight_bit_floats()] * 3)["float"]
    assert (tone.interval, tone.low, tone.high, tone.stretch) == ("limits", 0, 255, "linear")
    counts = np.random.default_rng(0).poisson(0.2, (48, 48)).astype(np.float32)
    counts[20:23, 20:23] = 214
    assert decide([counts] * 3)["float"].interval != "limits"


def test_that_pictures_stay_as_they_are_is_a_rule_only_where_other_numbers_stand_beside_them():
    deep = np.arange(576, dtype=np.uint16).reshape(24, 24)
    assert decide([eight_bit(), eight_bit(1)]) == {}
    assert list(decide([deep])) == ["uint16"]
    tones = decide([eight_bit(), deep])
    assert set(tones) == {"8-bit", "uint16"}
    assert "8-bit numbers become grey by: 0 is black and 255 white" in tones["8-bit"].sentence("8-bit")
    np.testing.assert_array_equal(grey(eight_bit(), tones), eight_bit())
