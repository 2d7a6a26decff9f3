"""Going on with a stopped run: its folder, its config with the changes that are allowed, the command to type."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from astroclf.config.compose import config_dir
from astroclf.config.validate import config_from_plain
from astroclf.errors import ConfigError
from astroclf.settings.schema import Config
from astroclf.util.text import nearest

# What may change in the middle of a run. Anything else would make the checkpoint's tensors or position mean something
# different: that is a new run.
CHANGEABLE = (
    "dataset.path",
    "dataset.cache_dir",
    "dataset.keep_images_on",
    "evaluation.tta_views",
    "optimizer.lr",
    "optimizer.weight_decay",
    "promotion.",
    "tracking.",
    "trainer.grad_clip_norm",
    "trainer.compile",
    "trainer.deterministic",
    "trainer.device",
    "trainer.epochs",
    "trainer.keep_lowest_loss",
    "trainer.keep_every",
    "trainer.max_nonfinite_steps",
    "trainer.max_steps",
    "trainer.patience",
    "trainer.precision",
    "trainer.save_every_minutes",
    "trainer.validate_every",
    "trainer.validate_every_steps",
    "trainer.num_workers",
)


def split_changes(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Command-line arguments of a resumed run, apart: those for Hydra, and changes to the run's own config.

    The run's config may have keys that the default composition lacks, so Hydra never sees the changes.
    """
    if not any(argument.startswith("resume=") for argument in arguments):
        return list(arguments), []
    changes = [a for a in arguments if "=" in a and not a.startswith(("resume=", "hydra.", "hydra/", "-"))]
    return [argument for argument in arguments if argument not in changes], changes


def resumed_config(folder: Path, resume: str, changes: Sequence[str] = ()) -> Config:
    """The typed config of the stopped run in a folder, with changes; `resume` is what named the run.

    Raises
    ------
    ConfigError
        A change that a run in progress cannot take, or a key that it has not.
    """
    saved = OmegaConf.load(folder / "config.yaml")
    assert isinstance(saved, DictConfig)
    if changes and (folder / "metrics.json").is_file():
        raise ConfigError(
            f"{folder} is complete: {', '.join(changes)} cannot change it any more. Leave that out, or start a new run."
        )
    for override in OverridesParser.create().parse_overrides(list(changes)):
        key = override.key_or_group
        if key == "tracking" and override.value() == "none":
            saved.tracking = OmegaConf.load(config_dir() / "tracking" / "none.yaml")
            continue
        names = list(dotted_keys(saved))
        if "." in key and key not in names:
            raise ConfigError(f"'{key}' is no key of {folder / 'config.yaml'}. {nearest(key, names)}")
        if not key.startswith(CHANGEABLE):
            allowed = ", ".join(name + "*" if name.endswith(".") else name for name in CHANGEABLE)
            raise ConfigError(
                f"'{key}' cannot change in a resumed run. Leave it out, or start a new run. These can: {allowed}; "
                "and tracking=none."
            )
        OmegaConf.update(saved, key, override.value())
    saved.resume = str(resume)
    plain = OmegaConf.to_container(saved, resolve=True)
    assert isinstance(plain, dict)
    return config_from_plain({str(key): value for key, value in plain.items()})


def dotted_keys(node: Any, prefix: str = "") -> Iterator[str]:
    """Every key below a config node, as people type it."""
    for key in node if isinstance(node, DictConfig) else ():
        yield f"{prefix}{key!s}"
        yield from dotted_keys(node._get_node(key), f"{prefix}{key!s}.")
