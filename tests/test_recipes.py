"""docs/recipes.md says of the forerunners' recipes what their composed configuration says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

import astroclf.run.folder  # noqa: F401 - registers the resolvers
from astroclf.config.compose import composed_as
from astroclf.settings.base import ComponentSettings
from astroclf.settings.config import Config
from astroclf.settings.yaml_files import config_dir
from astroclf.util.text import flatten

PAGE = (Path(__file__).parents[1] / "docs" / "recipes.md").read_text(encoding="utf-8")
RECIPES = ("seed_astro8", "seed_galaxy10")
BESIDE = re.compile(r"(equal|not recorded|on purpose: .)")


def rows(recipe: str) -> list[list[str]]:
    section = PAGE.partition(f"## `experiment={recipe}`")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def values(recipe: str) -> dict[str, Any]:
    """Read the table's keys and values, as yaml would."""
    found = {}
    for _, key, value, _ in rows(recipe):
        assert (key == "–") == (value == "–"), key
        if key != "–":
            assert key.strip("`") not in found, key
            found[key.strip("`")] = yaml.safe_load(re.sub(r"\b(\d+)e-", r"\1.0e-", value.strip("`")))
    return found


def written(recipe: str) -> tuple[dict[str, str], set[str]]:
    """Read the choices of groups in the experiment's yaml, and every key that it or its augmentation sets."""
    content = yaml.safe_load((config_dir() / "experiment" / f"{recipe}.yaml").read_text())
    entries = [entry.items() for entry in content.pop("defaults")]
    choices = {group.partition("/")[2]: choice for items in entries for group, choice in items}
    augment = yaml.safe_load((config_dir() / "augment" / f"{choices['augment']}.yaml").read_text())
    augment.pop("defaults")
    return choices, set(content_keys(content)) | {f"augment.{key}" for key in augment}


def content_keys(content: dict[str, Any]) -> list[str]:
    return [f"{section}.{key}" for section, keys in content.items() for key in keys]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_value_of_the_table_is_that_of_the_composed_recipe(recipe):
    config = composed_as(Config, "config", [f"experiment={recipe}", "dataset.path=somewhere"])
    composed = flatten(config.to_plain())
    choices, _ = written(recipe)
    for key, value in values(recipe).items():
        if key in choices:
            assert isinstance(getattr(config, key), ComponentSettings)
            assert value == choices[key]
        else:
            assert value == composed[key], key


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_table_leaves_nothing_out_that_the_recipe_sets(recipe):
    choices, keys = written(recipe)
    assert sorted((keys | set(choices) - {"dataset", "augment"}) - values(recipe).keys()) == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_row_says_equal_not_recorded_or_on_purpose_with_the_reason(recipe):
    assert len(rows(recipe)) > 30
    for row in rows(recipe):
        assert len(row) == 4, row
        assert BESIDE.match(row[3]), row
