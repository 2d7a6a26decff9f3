"""What dataset.tone.* may say, and dataset.crop, planes and the like beside it."""

from __future__ import annotations

import pytest
import yaml

from astroclf.errors import ConfigError
from astroclf.settings.reading import parse_crop
from astroclf.settings.tone import ToneSettings
from astroclf.settings.yaml_files import config_dir
from tests.data.decode.pictures import reading

IRG = ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]


def test_the_yaml_names_every_key_with_a_comment():
    path = config_dir() / "dataset" / "_values.yaml"
    keys = yaml.safe_load(path.read_text())["tone"]
    assert list(keys) == list(ToneSettings.declared())
    below = path.read_text().partition("\ntone:")[2].splitlines()
    assert all(" # " in line for line in below)


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'interval'"):
        ToneSettings.with_defaults(intervall="zscale")


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stretch": "gamma"}, "dataset.tone.stretch=gamma cannot be: choose one of auto, linear, asinh, sqrt, log"),
        ({"color": "rgb"}, "per_band, lupton"),
        ({"percentile": 0}, "percentage above 0"),
        ({"max_bad_fraction": 1.1}, "share from 0 to 1"),
        ({"lupton_q": 0.0}, "above 0"),
        ({"lupton_stretch": -1.0}, "above 0"),
        ({"lupton_minimum": [0, 1]}, "a list of three"),
        ({"lupton_minimum": "sky"}, "a list of three"),
        ({"limits": [3, 1]}, "black the smaller one"),
        ({"interval": "limits"}, "dataset.tone.limits=[black,white]"),
        ({"interval": "zscale", "limits": [0, 1]}, "finds black and white by itself"),
        ({"planes": []}, "dataset.planes"),
        ({"planes": [0, -1]}, "counted from 0"),
        ({"crop": "big"}, "dataset.crop=big"),
        ({"files": IRG, "planes": [0, 1]}, "each file gives one band"),
        ({"hdu": [1, 2], "planes": [0, 1]}, "each HDU gives one band"),
    ],
)
def test_a_value_that_cannot_be_is_refused(values, says):
    with pytest.raises(ConfigError) as raised:
        reading(**values)
    assert says in str(raised.value)


@pytest.mark.parametrize(
    ("text", "crop"),
    [
        (150, (150, "px")),
        ("150px", (150, "px")),
        ("90arcsec", (90, "arcsec")),
        ("1.5 arcmin", (90, "arcsec")),
        ('90"', (90, "arcsec")),
        ("0.025deg", (90, "arcsec")),
    ],
)
def test_a_cut_out_is_given_in_pixels_or_as_an_angle(text, crop):
    assert parse_crop(text) == crop


@pytest.mark.parametrize("text", ["1.5", "-3", "0", "", "1..5", ".", "90parsec"])
def test_no_other_size_is_one(text):
    with pytest.raises(ConfigError, match="no side of a cut-out"):
        parse_crop(text)


@pytest.mark.parametrize(
    ("values", "channels", "says"),
    [
        ({"files": IRG}, 5, "dataset.fits.files names 3 bands, but images are to have dataset.channels=5"),
        ({"planes": [0, 1, 2, 3, 4]}, 3, "set dataset.channels=5"),
        ({"hdu": ["SCI"]}, 2, "names 1 band,"),
        ({"color": "lupton"}, 5, "needs dataset.channels=3"),
        ({"color": "lupton", "planes": [4]}, 3, "three of them"),
    ],
)
def test_bands_that_are_named_must_suit_the_channels(values, channels, says):
    with pytest.raises(ConfigError) as raised:
        reading(**values).check_channels(channels)
    assert says in str(raised.value)


def test_grey_from_three_and_three_from_grey_are_fine():
    reading(files=IRG, color="lupton").check_channels(1)
    reading(hdu=["SCI"]).check_channels(3)
    reading().check_channels(12)
