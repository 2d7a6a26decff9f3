"""Recipes as tests want them: those of conf/augment, and changes of them."""

from __future__ import annotations

from typing import Any

from astroclf.data.augment.recipe import Augmentation
from astroclf.settings.yaml_files import yaml_values


def recipe(name: str = "none", **changes: Any) -> Augmentation:
    """Return a recipe of conf/augment with changes; by default, of the one that changes nothing."""
    return Augmentation(**recipe_values(name, **changes))


def recipe_values(name: str = "none", **changes: Any) -> dict[str, Any]:
    """Return the keyword arguments of a recipe, as model packages have them."""
    values = yaml_values(f"augment/{name}")
    del values["_target_"]
    return values | changes
