"""The backbone that a training begins with, where it is that of a trained model: found by any name of the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from astroclf.errors import WeightsError
from astroclf.inference.ensemble_spec import EnsembleSpec
from astroclf.registry.backbone_file import BACKBONE_FILE, Pretraining, read_pretraining
from astroclf.registry.names import found_model, is_name
from astroclf.registry.package import read_description
from astroclf.registry.weights import sha256, weights_path

ORIGIN = ("initial_weights", "initial_weights_sha256")  # what facts and tags call where a training began
TEACHER = ("teacher", "teacher_sha256")  # and whose answers it learned


@dataclass(frozen=True)
class InitialWeights:
    """What a training begins with.

    Attributes
    ----------
    given
        As a backbone takes it: ``imagenet``, a file, or None for random weights.
    origin
        Where it is from, for good, and its digest, by the names in `ORIGIN`; empty for random weights.
    pretraining
        Of a backbone that was pretrained here without labels.
    """

    given: str | None
    origin: Mapping[str, str] = field(default_factory=dict)
    pretraining: Pretraining | None = None


@contextmanager
def initial_weights(named: str | None, uri: str | None) -> Iterator[InitialWeights]:
    """Give the weights that ``backbone.weights`` names; a model that had to be fetched is gone afterwards.

    Parameters
    ----------
    named
        ``imagenet``, a file, any name of a model, or None.
    uri
        The tracking database, for names in MLflow.

    Raises
    ------
    WeightsError
        It is an ensemble, or its weights do not fit the backbone: errors of the block name the model, not its files.
    AstroclfError
        There is no such model.
    """
    if named is None:
        yield InitialWeights(None)
        return
    path, described = Path(named).expanduser(), named
    if (path / BACKBONE_FILE).is_file():  # the run folder of a pretraining
        path, described = path / BACKBONE_FILE, str(path.absolute())
    if path.is_file() and path.suffix == ".safetensors":
        yield InitialWeights(str(path), {ORIGIN[0]: described, ORIGIN[1]: sha256(path)}, read_pretraining(path))
        return
    if not is_name(named):
        digest = {ORIGIN[1]: sha256(path)} if path.is_file() else {}
        yield InitialWeights(named, {ORIGIN[0]: named, **digest})
        return
    with found_model(named, uri) as found:
        if isinstance(read_description(found.path), EnsembleSpec):
            raise WeightsError(f"backbone.weights={named} is an ensemble: name one of its models to begin with.")
        file, meant = weights_path(found.path), found.name
        described = meant if meant == named or Path(named).exists() else f"{meant}, named as {named}"
        try:
            yield InitialWeights(str(file), {ORIGIN[0]: described, ORIGIN[1]: sha256(file)})
        except WeightsError as error:
            raise WeightsError(str(error).replace(str(file), named)) from error


def origin_in(checkpoint: Mapping[str, Any]) -> dict[str, str]:
    """Return where the training of a checkpoint began, and who its teacher is, as it says."""
    facts = checkpoint.get("description", {}).get("spec", {}).get("facts", {})
    return {name: str(facts[name]) for name in (*ORIGIN, *TEACHER) if name in facts}
