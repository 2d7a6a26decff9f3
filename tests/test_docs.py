"""What the documentation says of the package, its files and its commands is so."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import tomllib
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

import astroclf
from astroclf.cli.verbs import find_verb
from astroclf.simulation import write_galaxy10

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "astroclf"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("experiments/*.md")])
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def section(title: str) -> str:
    return ARCHITECTURE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_architecture_names_every_module_once_and_no_other():
    named: Counter[str] = Counter()
    for part in section("Rooms").split("\n### ")[1:]:
        room = re.match(r"`(\w+/)`", part)
        named.update(f"{room[1] if room else ''}{name}" for name in re.findall(r"`([\w/]+\.py)`", part))
    modules = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py")}
    rooms_own = {name for name in modules if name.endswith("__init__.py")}
    assert {name: count for name, count in named.items() if count > 1} == {}
    assert sorted(named) == sorted(modules - rooms_own)


def test_every_letter_of_a_tensor_s_axes_is_in_the_legend():
    legend = set("".join(re.findall(r"^\| ([A-Z, ]+) \|", section("Shape letters"), re.M))) - set(", ")
    used: dict[str, str] = {}
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            name = node.id if isinstance(node, ast.Name) else node.arg if isinstance(node, ast.arg) else ""
            if match := re.fullmatch(r"[a-z][a-z0-9_]*_([A-Z0-9]+)", name):
                used |= {letter: f"{path.name}: {name}" for letter in match[1] if letter.isalpha()}
    assert {letter: where for letter, where in used.items() if letter not in legend} == {}
    assert sorted(legend - used.keys()) == []


def test_the_picture_of_the_rooms_shows_the_imports_as_they_are():
    spec = importlib.util.spec_from_file_location("draw_rooms", ROOT / "docs" / "draw_rooms.py")
    assert spec is not None
    assert spec.loader is not None
    draw_rooms = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(draw_rooms)
    assert draw_rooms.PICTURE.read_text() == draw_rooms.picture(), "run python docs/draw_rooms.py"


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (citation["version"], citation["license"]) == (astroclf.__version__, project["license"])


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"(?s)```.*?```", "", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = re.sub(r"(?s)```.*?```", "", page.read_text())
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


# ---- commands -----------------------------------------------------------------------------------------------------


def commands() -> list[str]:
    """Return every command of astroclf in the documentation: in blocks, and between backticks where it is whole."""
    found = []
    for page in PAGES:
        text = page.read_text()
        for block in re.findall(r"(?s)```sh\n(.*?)```", text):
            found += block.replace("\\\n", " ").splitlines()
        found += re.findall(r"`(astroclf [^`]+)`", re.sub(r"(?s)```.*?```", "", text))
    lines = {re.split(r" +# | \|\| ", line)[0].strip() for line in found}
    return sorted(
        line for line in lines if line.startswith("astroclf ") and not re.search(r"[<…]|VERB|^astroclf --", line)
    )


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name."""
    desk = tmp_path_factory.mktemp("desk")
    for name in ("my_images/spiral/a.png", "my_images/smooth/b.png", "my_cubes/spiral/a.png"):
        (desk / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(desk / name), np.zeros((8, 8, 3), np.uint8))
    (desk / "my_arrays").mkdir()
    np.save(desk / "my_arrays" / "images.npy", np.zeros((2, 8, 8), np.uint8))
    for name in ("Galaxy10_DECals.h5", "g10.h5"):
        write_galaxy10(desk / name, samples=20, image_size=16, seed=0)
    return desk


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command, desk, monkeypatch, capsys):
    """A sweep is looked at with the first value of each key: which of them are searched, the tests of sweeps hold."""
    monkeypatch.chdir(desk)
    _, verb, *words = shlex.split(command)
    if any(word.startswith(("resume=", "--config-dir", "backbone=my_net", "backbone=quarters")) for word in words):
        pytest.skip("it names what an earlier command leaves")
    if "-m" in words:
        words.remove("-m")
        words = [re.sub(r"=([^,\[(]+),.*", r"=\1", word) for word in words if not re.search(r"=\w+\(", word)]
    assert find_verb(verb).main([*words, "--cfg", "job"] if "--help" not in words else words) == 0, (
        capsys.readouterr().err
    )
