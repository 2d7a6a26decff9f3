"""The one import whitelist: which packages a config, or a model file, may name classes of.

A config that somebody sends must not choose what code runs here. Beside astroclf's own rooms, only installed packages
that announce themselves by an entry point of the group `ENTRY_POINTS` are trusted, never a path in a config.
"""

from __future__ import annotations

import importlib
from contextlib import suppress
from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from inspect import Parameter, signature
from pathlib import Path

from astroclf.errors import ConfigError

ENTRY_POINTS = "astroclf.components"
PACKAGES: dict[str, tuple[str, ...]] = {
    "dataset": ("astroclf.data.readers.", "astroclf.simulation."),
    "backbone": ("astroclf.models.",),
    "loss": ("astroclf.losses.",),
    "augment": ("astroclf.data.augment.",),
    "optimizer": ("torch.optim.", "astroclf.engine."),
    "scheduler": ("astroclf.engine.",),
    "tracking": ("astroclf.tracking.",),
    "sampler": ("optuna.samplers.", "hydra_plugins.hydra_optuna_sweeper."),
    "pruner": ("optuna.pruners.",),
}


@cache
def outside_packages() -> tuple[str, ...]:
    """Return the installed packages that announce components of their own, by their dotted names."""
    return tuple(dict.fromkeys(point.value.partition(":")[0] for point in entry_points(group=ENTRY_POINTS)))


def outside_folders() -> list[Path]:
    """Return where those packages keep their yaml files: the folder ``conf`` of each; imports none of them."""
    folders: list[Path] = []
    for name in outside_packages():
        with suppress(ModuleNotFoundError):  # announced, and gone
            found = find_spec(name)
            folders += [Path(place) / "conf" for place in (found and found.submodule_search_locations) or ()]
    return [folder for folder in folders if folder.is_dir()]


def trusted_packages(group: str) -> tuple[str, ...]:
    """Return the prefixes of dotted names that a group's ``_target_`` may begin with, each ending in a dot."""
    return (*PACKAGES[group], *(f"{name}." for name in outside_packages()))


def check_target(group: str, target: str) -> None:
    """Refuse a ``_target_`` outside the packages that its group trusts; imports nothing.

    Raises
    ------
    ConfigError
        With the packages that may be named.
    """
    if not target.startswith(trusted_packages(group)):
        packages = " or ".join(package.rstrip(".") for package in trusted_packages(group))
        raise ConfigError(
            f"'{group}._target_' is {target}; a {group} must be a class below {packages}. Other packages have to be "
            f"installed and to announce themselves by an entry point of the group {ENTRY_POINTS}."
        )


def locate(group: str, target: str) -> type:
    """Import the class that a ``_target_`` names, from the packages that its group trusts.

    It must be a class, and defined there: a function, or what such a module merely imported, could do anything.

    Raises
    ------
    ConfigError
        A name outside the whitelist, or one that is no class of it.
    """
    check_target(group, target)
    module_name, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module_name), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ConfigError(f"'{group}._target_' is {target}: no class that can be imported ({error}).") from error
    if not isinstance(found, type) or not f"{found.__module__}.".startswith(trusted_packages(group)):
        raise ConfigError(
            f"'{group}._target_' is {target}: no class that is defined in a package of the {group} group."
        )
    return found


def parameters_of(cls: type) -> dict[str, Parameter]:
    """Return the parameters that the constructor of a class takes by name; one that takes any has ``**`` among them."""
    found = signature(cls).parameters.values()
    return {"**" if each.kind is each.VAR_KEYWORD else each.name: each for each in found}
