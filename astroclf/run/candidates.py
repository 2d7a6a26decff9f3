"""Networks that may suit a data set, as people name them: from one word to the backbone that a training takes."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from astroclf.config.compose import composed_as
from astroclf.errors import ConfigError
from astroclf.inference.seen import SeenImages
from astroclf.models.hub import hub_architecture
from astroclf.registry.load import load_one
from astroclf.registry.names import is_name
from astroclf.settings.components import outside_folders
from astroclf.settings.config import Config
from astroclf.settings.network import BackboneSettings
from astroclf.settings.yaml_files import config_dir, yaml_values
from astroclf.util.text import nearest

TIMM, HUB = "timm:", "hf_hub:"


@dataclass(frozen=True)
class Candidate:
    """A network with its weights, ready to be built.

    Attributes
    ----------
    words
        That give it to ``train``, behind those of the experiment.
    seen
        The images that its weights were trained on, where they are those of a model of ours.
    """

    backbone: BackboneSettings
    words: tuple[str, ...]
    seen: SeenImages | None = None


def check_candidate(word: str) -> None:
    """Refuse a word that names no candidate of any kind, as far as that can be told without fetching anything.

    Raises
    ------
    ConfigError
        With the nearest.
    """
    if "=" in word:
        foreign = [part for part in shlex.split(word) if not part.startswith(("backbone=", "backbone."))]
        if foreign:
            raise ConfigError(
                f"candidates: {foreign[0]} in {word!r} is no word about a backbone. All candidates are compared on the "
                "same images: what holds for all of them stands beside candidates=."
            )
    elif not (word.startswith((TIMM, HUB)) or word in _choices() or is_name(word) or Path(word).is_file()):
        raise ConfigError(
            f"candidates: {word!r} is neither a backbone of ours nor the name of a model. {nearest(word, _choices())} "
            "A network of timm is timm:NAME, one of the Hugging Face hub hf_hub:OWNER/MODEL."
        )


def candidate(word: str, recipe: Config) -> Candidate:
    """Return the network that a word names, with what else the recipe says of backbones.

    Raises
    ------
    AstroclfError
        It cannot be had.
    """
    words, seen = _words(word, recipe)
    try:
        backbone = composed_as(Config, "config", ["tracking=none", *words]).backbone
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"candidates: {word!r} is no backbone: {str(error).splitlines()[0]}") from error
    typed = {each.partition("=")[0] for each in words}
    wanted = recipe.backbone.values()
    shared = {
        key: wanted[key]
        for key in backbone.values()
        if key in wanted and key not in ("weights", "name") and f"backbone.{key}" not in typed
    }
    lacking = [f"~backbone.{key}" for key in wanted if key not in backbone.values()]
    return Candidate(replace(backbone, **shared), (*words, *lacking), seen)


def untrained(recipe: Config) -> Candidate:
    """Return what the others are compared with: ResNet-18 with random weights."""
    return candidate("backbone=resnet18 backbone.weights=null", recipe)


def _words(word: str, recipe: Config) -> tuple[list[str], SeenImages | None]:
    """Return the words about the backbone that a candidate stands for."""
    if "=" in word:
        return shlex.split(word), None
    if word.startswith(TIMM):
        return ["backbone=timm", f"backbone.name={word.removeprefix(TIMM)}", "backbone.weights=imagenet"], None
    if word.startswith(HUB):
        name = hub_architecture(word.removeprefix(HUB))
        return ["backbone=timm", f"backbone.name={name}", f"backbone.weights={word}"], None
    if word in _choices():
        return [f"backbone={word}", "backbone.weights=imagenet"], None
    uri = recipe.tracking.uri if isinstance(recipe.tracking.uri, str) else None
    model = load_one(word, "be a backbone", uri, device="cpu")
    options = dict(model.spec.backbone)
    target = options.pop("_target_")
    choice = next((name for name, values in _choices().items() if values.get("_target_") == target), None)
    if choice is None:
        raise ConfigError(f"{word} has the backbone {target}, of which no file of conf/backbone is.")
    known = _choices()[choice]
    given = [f"backbone.{key}={value}" for key, value in options.items() if key in known and value != known[key]]
    return [f"backbone={choice}", *given, f"backbone.weights={word}"], model.seen


def _choices() -> dict[str, dict[str, object]]:
    """Return what the yaml file of each backbone says, by the name that people type."""
    folders = [config_dir(), *outside_folders()]
    names = sorted({path.stem for folder in folders for path in (folder / "backbone").glob("[!_]*.yaml")})
    return {name: yaml_values(f"backbone/{name}", folders) for name in names}
