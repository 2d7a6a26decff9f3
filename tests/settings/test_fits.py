"""What dataset.fits.* may say."""

from __future__ import annotations

import pytest
import yaml

from astroclf.errors import ConfigError
from astroclf.settings.fits import FitsSettings
from astroclf.settings.yaml_files import config_dir

IRG = ["{id}_i.fits", "{id}_r.fits", "{id}_g.fits"]


def test_the_yaml_names_every_key_with_a_comment():
    path = config_dir() / "dataset" / "_files.yaml"
    keys = yaml.safe_load(path.read_text())["fits"]
    assert list(keys) == list(FitsSettings.declared())
    below = path.read_text().partition("\nfits:")[2].splitlines()
    assert all(" # " in line for line in below)


def test_an_unknown_key_names_the_nearest():
    with pytest.raises(ConfigError, match="Did you mean 'interval'"):
        FitsSettings.with_defaults(intervall="zscale")


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
        FitsSettings.with_defaults(**values)
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
        FitsSettings.with_defaults(**values).check_channels(channels)
    assert says in str(raised.value)


def test_grey_from_three_and_three_from_grey_are_fine():
    FitsSettings.with_defaults(files=IRG, color="lupton").check_channels(1)
    FitsSettings.with_defaults(hdu=["SCI"]).check_channels(3)
    FitsSettings.with_defaults().check_channels(12)
