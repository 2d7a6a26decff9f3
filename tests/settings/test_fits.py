"""What dataset.fits.* may say."""

from __future__ import annotations

from dataclasses import fields

import pytest
import yaml

from astroclf.config.compose import config_dir
from astroclf.errors import ConfigError
from astroclf.settings.fits import FitsSettings

IRG = ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]


def test_the_yaml_names_every_key_with_the_default_and_a_comment():
    path = config_dir() / "dataset" / "_files.yaml"
    keys = yaml.safe_load(path.read_text())["fits"]
    assert FitsSettings.from_config(keys) == FitsSettings()
    assert list(keys) == [f.name for f in fields(FitsSettings)]
    below = path.read_text().partition("fits:\n")[2].splitlines()
    assert all(" # " in line for line in below)


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="did you mean `interval`"):
        FitsSettings.from_config({"intervall": "zscale"})
    assert FitsSettings.from_config(None) == FitsSettings()


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"stretch": "gamma"}, "dataset.fits.stretch=gamma cannot be: choose one of asinh, linear, log, sqrt"),
        ({"color": "rgb"}, "per_band, lupton"),
        ({"hdu": 1.5}, "dataset.fits.hdu=1.5"),
        ({"hdu": []}, "dataset.fits.hdu"),
        ({"hdu": [1, None, True]}, "dataset.fits.hdu"),
        ({"planes": []}, "dataset.fits.planes"),
        ({"planes": [0, -1]}, "counted from 0"),
        ({"percentile": 0}, "percentage above 0"),
        ({"max_bad_fraction": 1.1}, "share from 0 to 1"),
        ({"lupton_q": 0.0}, "above 0"),
        ({"lupton_stretch": -1.0}, "above 0"),
        ({"lupton_minimum": [0, 1]}, "a list of three"),
        ({"lupton_minimum": "sky"}, "a list of three"),
        ({"files": []}, "one name pattern a band"),
        ({"files": ["{id}_i.fits", "{id}_i.fits"]}, "each once"),
        ({"files": ["i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}/{id}_i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}/i.fits"]}, "must hold {id} once"),
        ({"files": ["../{id}_i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}_i.png"]}, "must end as those of FITS files"),
        ({"files": IRG, "hdu": [1, 2, 3]}, "each file gives one band"),
        ({"files": IRG, "planes": [0, 1]}, "each file gives one band"),
        ({"hdu": [1, 2], "planes": [0, 1]}, "each HDU gives one band"),
    ],
)
def test_a_value_that_cannot_be_is_refused(values, says):
    with pytest.raises(ConfigError) as raised:
        FitsSettings(**values)
    assert says in str(raised.value)


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
        FitsSettings(**values).check_channels(channels)
    assert says in str(raised.value)


def test_grey_from_three_and_three_from_grey_are_fine():
    FitsSettings(files=IRG, color="lupton").check_channels(1)
    FitsSettings(hdu=["SCI"]).check_channels(3)
    FitsSettings().check_channels(12)
