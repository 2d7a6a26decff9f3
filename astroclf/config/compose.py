"""What Hydra composed, made ready: absolute paths, and the keys that the chosen yaml files declare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from astroclf.config.validate import Schema, typed
from astroclf.settings.schema import COMPONENT_KEYS
from astroclf.tracking.database import absolute_uri


def config_dir() -> Path:
    """The folder of yaml files: inside the package in an installed wheel, beside it in a checkout."""
    package = Path(__file__).parent.parent
    packaged = package / "conf"
    return packaged if packaged.is_dir() else package.parent / "conf"


def checked_as(schema: type[Schema], composed: DictConfig, hydra: Any = None) -> Schema:
    """The typed config of a front door with a schema of its own; `hydra` is the job's, if it is not the running one."""
    return typed(_anchored(composed), declared_keys(hydra or HydraConfig.get()), schema)


def _anchored(composed: DictConfig) -> DictConfig:
    """The config with absolute paths, so that a run can be resumed from anywhere."""
    composed = composed.copy()
    for group, key in (
        ("dataset", "path"),
        ("dataset", "cache_dir"),
        ("dataset", "split_file"),
        ("tracking", "artifact_root"),
    ):
        value = (composed.get(group) or {}).get(key)
        if isinstance(value, str) and value and "://" not in value:
            composed[group][key] = str(Path(value).expanduser().absolute())
    uri = (composed.get("tracking") or {}).get("uri")
    if isinstance(uri, str):
        composed.tracking.uri = absolute_uri(uri)
    return composed


def declared_keys(hydra: Any) -> dict[str, dict[str, Any]]:
    """For each group that people extend, the keys and values of the chosen yaml and of those it builds on."""
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    return {group: _yaml_keys(folders, group, hydra.runtime.choices.get(group) or "") for group in COMPONENT_KEYS}


def _yaml_keys(folders: list[Path], group: str, choice: str) -> dict[str, Any]:
    for folder in folders:
        path = folder / group / f"{choice}.yaml"
        if path.is_file():
            content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
            assert isinstance(content, dict)
            keys: dict[str, Any] = {}
            for base in content.pop("defaults", []):
                if isinstance(base, str) and base != "_self_":
                    keys |= _yaml_keys(folders, group, base)
            return keys | {str(key): value for key, value in content.items()}
    return {}
