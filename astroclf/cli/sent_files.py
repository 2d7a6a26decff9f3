"""Yaml files that somebody sent: they choose settings, and neither where files go nor what code runs.

Hydra takes both from any file: its own node ``hydra`` names folders, log files, callbacks and logging handlers. So what
that node would be without the files that are not astroclf's, but with all that was typed, is composed beside it: where
the two differ, a file had its hand in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from astroclf.errors import ConfigError
from astroclf.settings.yaml_files import config_dir
from astroclf.util.text import flatten

# Of Hydra's node: what it writes of each composition, and the search, whose settings are checked like all others.
_OTHERWISE_CHECKED = ("runtime.", "overrides.", "sweeper.", "job.override_dirname", "job.config_name", "help.", "mode")
_SEARCH_PATH = "hydra.searchpath"


class SentFilesGuard:
    """What stands in for a loader's own composition, and refuses what a file that was sent must not choose.

    Parameters
    ----------
    loader
        Whose compositions are guarded from now on, in other processes too.
    config_name
        The yaml file of the verb, of astroclf's own.
    """

    def __init__(self, loader: ConfigLoaderImpl, config_name: str) -> None:
        self.loader, self.config_name = loader, config_name
        self.own = ConfigLoaderImpl(create_config_search_path(f"file://{config_dir()}"))
        loader._load_configuration = self  # type: ignore[method-assign, assignment]

    def __call__(self, *, overrides: list[str], **options: Any) -> DictConfig:
        """Compose as the loader does.

        Raises
        ------
        ConfigError
            A file that is not astroclf's own sets a key of Hydra's, or names a run to go on with.
        """
        composed = ConfigLoaderImpl._load_configuration(self.loader, overrides=overrides, **options)
        own = {(source.scheme(), source.path) for source in self.own.get_sources()}
        used = {(source.schema, source.path) for source in composed.hydra.runtime.config_sources}
        if used - own:
            self._check(composed, OverridesParser.create().parse_overrides(overrides), options["run_mode"])
        return composed

    def _check(self, composed: DictConfig, typed: Sequence[Override], run_mode: Any) -> None:
        ours = [str(o.input_line) for o in typed if o.is_hydra_override() and self._is_ours(o)]
        expected = self.own.load_configuration(self.config_name, ours, run_mode, validate_sweep_overrides=False)
        found, wanted = (_plain(each) for each in (composed, expected))
        names = [name for name in {**wanted, **found} if found.get(name) != wanted.get(name)]
        if any(o.key_or_group == _SEARCH_PATH for o in typed):
            names = [name for name in names if name != "searchpath"]
        written = composed.hydra.overrides
        if len(written.hydra) + len(written.task) != len(typed):
            names.append("overrides")
        if names:
            raise _refused(f"hydra.{names[0]}")
        if composed.get("resume") is not None and not any(o.key_or_group == "resume" for o in typed):
            raise _refused("resume")

    def _is_ours(self, override: Override) -> bool:
        """Tell whether an override sets a value, or chooses a file that astroclf itself has."""
        group = override.key_or_group
        if group == _SEARCH_PATH:
            return False
        return group.startswith("hydra.") or str(override.value()) in self.own.get_group_options(group)


def _plain(composed: DictConfig) -> dict[str, Any]:
    """Return the keys of Hydra's node that files may not set, unresolved: what they refer to is looked at as itself."""
    plain = OmegaConf.to_container(composed.hydra, resolve=False)
    assert isinstance(plain, dict)
    flat = flatten({str(key): value for key, value in plain.items()})
    return {name: value for name, value in flat.items() if not name.startswith(_OTHERWISE_CHECKED)}


def _refused(key: str) -> ConfigError:
    return ConfigError(
        f"'{key}' is set by a yaml file that is not astroclf's own (of --config-dir, --config-name or "
        "hydra.searchpath). A config that somebody sends may choose settings, not where files go or what code runs: "
        f"take it out of that file. What is typed on the command line is allowed: {key}=…"
    )
