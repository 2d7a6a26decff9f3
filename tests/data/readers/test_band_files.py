"""Which files belong to one sample."""

from __future__ import annotations

import pytest

from astroclf.data.readers.band_files import BandFiles

GRI = BandFiles(["{id}_i.fits", "{id}_r.fits", "{id}_g.fits.gz"])


def test_a_sample_is_its_files_in_channel_order():
    files = ["a/m51_g.fits.gz", "a/m51_i.fits", "a/m51_r.fits"]
    assert GRI.group(files) == (["a/m51"], [])
    assert GRI.files("a/m51") == ["a/m51_i.fits", "a/m51_r.fits", "a/m51_g.fits.gz"]
    assert {GRI.sample_of(file) for file in files} == {"a/m51"}


def test_the_same_id_in_two_folders_is_two_samples():
    files = [file for folder in ("", "2019/", "2019/night 2/") for file in GRI.files(f"{folder}m51")]
    assert GRI.group(files) == (["2019/m51", "2019/night 2/m51", "m51"], [])


def test_a_sample_without_some_of_its_bands_is_one_whichever_is_missing():
    for missing in range(3):
        files = GRI.files("m51")
        del files[missing]
        assert GRI.group(files) == (["m51"], [])


def test_other_files_are_named():
    files = [*GRI.files("m51"), "m51_u.fits", "m51_g.fits", "preview.png", "m51_i.fits.gz", "x_ifits", "_i.fits"]
    assert GRI.group(files) == (
        ["m51"],
        ["_i.fits", "m51_g.fits", "m51_i.fits.gz", "m51_u.fits", "preview.png", "x_ifits"],
    )


def test_folders_by_band():
    bands = BandFiles(["hsc/i/{id}.fits", "hsc/g/{id}.fits"])
    files = [*bands.files("m51"), *bands.files("deep/m87"), "m51.fits"]
    assert files[2] == "deep/hsc/i/m87.fits"
    assert bands.group(files) == (["deep/m87", "m51"], ["m51.fits"])


@pytest.mark.parametrize("order", [1, -1])
def test_a_pattern_that_also_fits_the_files_of_another(order):
    bands = BandFiles(["{id}.fits", "{id}_r.fits"][::order])
    assert bands.group(["m51.fits", "m51_r.fits", "m87_r.fits", "m101.fits"]) == (["m101", "m51", "m87"], [])


def test_names_are_taken_as_they_are_written():
    bands = BandFiles(["frame-{id}.[i].fits"])
    assert bands.group(["frame-a.[i].fits", "frame-ai.fits", "frame-axi.fits"])[0] == ["a"]
