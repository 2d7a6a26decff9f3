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
    with pytest.raises(ConfigError, match="Did you mean 'checksum'"):
        FitsSettings.with_defaults(checksums=True)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"hdu": 1.5}, "dataset.fits.hdu=1.5"),
        ({"hdu": []}, "dataset.fits.hdu"),
        ({"hdu": [1, None, True]}, "dataset.fits.hdu"),
        ({"files": []}, "one name pattern a band"),
        ({"files": ["{id}_i.fits", "{id}_i.fits"]}, "each once"),
        ({"files": ["i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}/{id}_i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}/i.fits"]}, "must hold {id} once"),
        ({"files": ["../{id}_i.fits"]}, "must hold {id} once"),
        ({"files": ["{id}_i.png"]}, "must end as those of FITS files"),
        ({"files": IRG, "hdu": [1, 2, 3]}, "each file gives one band"),
    ],
)
def test_a_value_that_cannot_be_is_refused(values, says):
    with pytest.raises(ConfigError) as raised:
        FitsSettings.with_defaults(**values)
    assert says in str(raised.value)
