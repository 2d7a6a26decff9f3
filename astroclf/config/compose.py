"""Hydra's composition, made typed: where yaml files are found, and which keys the chosen ones declare.

Importing this module makes Hydra find the yaml files of installed packages too, and OmegaConf know the name of a data
set that is called after its folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin
from omegaconf import DictConfig, OmegaConf

from astroclf.config.validate import Schema, typed
from astroclf.settings.components import ENTRY_POINTS, outside_folders
from astroclf.settings.config import GROUPS
from astroclf.settings.dataset import name_after
from astroclf.settings.yaml_files import config_dir, yaml_values


class OutsideComponents(SearchPathPlugin):
    """Hydra's search path, with the yaml files of installed packages that announce components after ours."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Append the folders that hold those yaml files."""
        for folder in outside_folders():
            search_path.append(ENTRY_POINTS, f"file://{folder}")


Plugins.instance().register(OutsideComponents)
OmegaConf.register_resolver("data_set_name", name_after, replace=True)


def checked_as(schema: type[Schema], composed: DictConfig, hydra: Any = None) -> Schema:
    """Return the typed config of a verb; `hydra` is the job's node, if it is not the running one."""
    return typed(composed, declared_keys(hydra or HydraConfig.get()), schema)


def composed_as(schema: type[Schema], name: str, overrides: Sequence[str]) -> Schema:
    """Return the typed config that ``conf/<name>.yaml`` and these overrides give, whatever a running job was given.

    Raises
    ------
    ConfigError
        As `typed`; what Hydra itself refuses is raised as Hydra words it.
    """
    running = GlobalHydra.instance().hydra  # of the verb that asks, if one does: Hydra refuses a second beside it
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(config_dir())):
            whole = compose(name, overrides=list(overrides), return_hydra_config=True)
    finally:
        GlobalHydra.instance().hydra = running
    return checked_as(
        schema, OmegaConf.masked_copy(whole, [key for key in map(str, whole) if key != "hydra"]), whole.hydra
    )


def declared_keys(hydra: Any) -> dict[str, dict[str, Any]]:
    """Return, for each group that people extend, the keys and values of the chosen yaml and of those it builds on."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    choices = {group: hydra.runtime.choices.get(group) for group in GROUPS}
    return {group: yaml_values(f"{group}/{choice}", folders) if choice else {} for group, choice in choices.items()}
