"""Load a model by any of its names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from astroclf.errors import ConfigError
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.registry.checkpoint import load_checkpoint_model
from astroclf.registry.names import found_model
from astroclf.registry.package import load_package


def load(
    model: str | Path | Sequence[str | Path],
    uri: str | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Predictor | Ensemble:
    """Return the predictor of a model, by any of its names. No code that came with the model is run.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/3``, an MLflow run id (or its first eight digits), bare or as
        ``runs:/<run id>``, a run folder, the folder of a package, of a downloaded MLflow model or of a bundle, a zip of
        one of these, or a checkpoint of a training. A list is an ensemble; one of a single name is that model.
    uri
        The tracking database, for names in MLflow; None: ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
    device
        ``auto``: the GPU if there is one.
    precision
        Number format of its answers: bf16, fp16, fp32, or ``auto``, the fastest that the device does well.

    Raises
    ------
    TrackingError
        There is no such model; the message names the nearest, or those that exist.
    WeightsError
        The model is damaged, or not one of astroclf's.
    ConfigError
        The models of an ensemble know different classes.
    """
    if not isinstance(model, str | Path):
        loaded = [load(each, uri, device, precision) for each in model]
        return loaded[0] if len(loaded) == 1 else Ensemble([member for each in loaded for member in each.members])
    with found_model(str(model), uri) as found:
        if found.path.is_file():
            return load_checkpoint_model(found.path, device, precision)
        return load_package(found.path, device, precision)


def load_one(
    model: str | Path, purpose: str, uri: str | None = None, device: str = "auto", precision: str = "auto"
) -> Predictor:
    """Return the predictor of a model that must be a single network, for what an ensemble cannot do.

    Parameters
    ----------
    purpose
        What it cannot do, in an infinitive such as ``explain its answers``.

    Raises
    ------
    ConfigError
        It is an ensemble; the message names its members.
    AstroclfError
        As `load`.
    """
    if re.fullmatch(r"\[.*\]", str(model)):
        raise ConfigError(f"model={model} is an ensemble, which cannot {purpose}. Ask one of its models.")
    predictor = load(model, uri, device, precision)
    if isinstance(predictor, Ensemble):
        members = ", ".join(predictor.names) or "its members"
        raise ConfigError(f"{model} is an ensemble, which cannot {purpose}. Ask one of its models: {members}.")
    return predictor
