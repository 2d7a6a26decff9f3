"""``astroclf stores``: what it prints, removes and refuses."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.simulation.readers import Galaxy10Sim
from astroclf.stores import main

DAY = 86_400


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """A cache with the stores of two image sizes, and their names by size."""
    cache, names = tmp_path_factory.mktemp("built") / "cache", {}
    for size in (16, 20):
        names[size] = open_image_cache(Galaxy10Sim(20, size, 0, cache), cache, progress=False).path.name
    shutil.copytree(cache, f"{cache} as it was")
    return cache, names


@pytest.fixture
def cache(built: tuple[Path, dict[int, str]], own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That cache, as it was built, for it remembers its own place; the store of 16 px was not used for 40 days."""
    cache, names = built
    monkeypatch.setenv("ASTROCLF_CACHE", str(cache))
    shutil.rmtree(cache)
    shutil.copytree(f"{cache} as it was", cache)
    os.utime(cache / "stores" / names[16] / "store.json", (time.time() - 40 * DAY,) * 2)
    return cache


@pytest.fixture
def names(built: tuple[Path, dict[int, str]], cache: Path) -> dict[int, str]:
    """The names of its stores, by image size."""
    return built[1]


def left(cache: Path) -> set[str]:
    return {path.name for path in (cache / "stores").iterdir() if path.is_dir()}


def test_lists_every_store_and_the_sum(names, cache, capsys):
    assert main([]) == 0
    header, *lines, total = capsys.readouterr().out.splitlines()
    assert header.split()[:3] == ["NAME", "IMAGES", "SIZE"]
    assert len(lines) == 4
    (line,) = [line for line in lines if line.startswith(names[16])]
    assert "20, 16 px" in line
    assert "Galaxy10Sim" in line
    assert time.strftime("%Y-%m-%d", time.localtime(time.time() - 40 * DAY)) in line
    assert total.endswith(f"B in {cache}")


def test_data_that_are_gone_are_said_to_be(names, cache, capsys):
    simulated = ",".join(f"simulated/{path.name}" for path in (cache / "simulated").iterdir())
    assert main([f"remove=[{simulated}]"]) == 0
    assert main([]) == 0
    assert capsys.readouterr().out.count("(not there now)") == 2


def test_removes_by_name_and_says_what_is_freed(names, cache, capsys):
    assert main([f"remove={names[20]}"]) == 0
    assert left(cache) == {names[16]}
    first, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"removed {names[20]} (")
    assert "freed" in last


def test_removes_what_is_old(names, cache):
    assert main(["unused_for=41d"]) == 0
    assert left(cache) == set(names.values())
    assert main(["unused_for=5w"]) == 0
    assert left(cache) == {names[20]}


def test_removes_unfinished_builds(names, cache):
    (cache / "stores" / f"{names[16]}.partial").mkdir()
    assert main(["unfinished=true"]) == 0
    assert left(cache) == set(names.values())


def test_removes_all_but_what_is_in_use(names, cache, capsys):
    opened = open_image_cache(Galaxy10Sim(20, 16, 0, cache), cache, progress=False)
    assert main([f"dataset.cache_dir={cache}", "all=true"]) == 1
    assert left(cache) == {opened.path.name}
    assert f"kept: {opened.path.name} is in use" in capsys.readouterr().err
    assert len(opened.catalog) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["remove"], "'remove' has no value."),
        (["remove=nothing"], "The cache holds no `nothing`."),
        (["unused_for=30"], "unused_for=30 is no time such as 30d (days), 12h (hours) or 2w (weeks)."),
        (["--all"], "values are given without dashes, as key=value. Type all=true"),
        (["--cache-dir", "here"], "Type dataset.cache_dir=here"),
        (["simulated"], "'simulated' stands alone"),
    ],
)
def test_what_cannot_be_removed_is_said(names, cache, capsys, arguments, message):
    assert main(arguments) == 1
    err = capsys.readouterr().err
    assert err.startswith("Error: ")
    assert message in " ".join(err.split())
    assert left(cache) == set(names.values())


def test_an_empty_cache(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("ASTROCLF_CACHE", str(tmp_path))
    assert main([]) == 0
    assert f"{tmp_path} holds no stores." in capsys.readouterr().out
