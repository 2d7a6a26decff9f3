"""What a data set is called that nobody gave a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from astroclf.settings.dataset import name_after


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/data/sky", "sky"),
        ("/data/sky/", "sky"),
        ("/data/My galaxies!/", "My_galaxies"),
        ("/data/a:b/../c:d, e", "c_d_e"),
        ("/data/星系 2", "星系_2"),
        ("/data/v1.2", "v1.2"),
        ("/data/.hidden", "hidden"),
        ("/", "data"),
        ("/data/!!!", "data"),
        (None, "data"),
    ],
)
def test_it_is_called_after_its_folder(path, name):
    assert name_after(path) == name


def test_a_relative_path_and_a_file_have_names_too(tmp_path, monkeypatch):
    (tmp_path / "survey" / "deep").mkdir(parents=True)
    (tmp_path / "survey" / "cut outs.v2.npz").touch()
    monkeypatch.chdir(tmp_path / "survey" / "deep")
    assert [name_after(path) for path in (".", "..", Path("../deep/"))] == ["deep", "survey", "deep"]
    assert name_after("../cut outs.v2.npz") == "cut_outs.v2"
