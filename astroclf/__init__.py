"""Classifiers of astronomical images: train, search, judge and ship them.

``astroclf.load("models:/galaxy10@champion").predict(images)`` uses a trained model; everything else is done with the
command ``astroclf``, whose verbs are the modules beside this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from astroclf.util.lazy import lazy_import
from astroclf.util.version import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from astroclf.inference.ensemble import Ensemble
    from astroclf.inference.predictor import Predictor
    from astroclf.registry import load as _registry

    Name = str | Path
else:
    _registry = lazy_import("astroclf.registry.load")

__all__ = ["__version__", "load"]


def load(
    model: Name | Sequence[Name], uri: str | None = None, device: str = "auto", precision: str = "auto"
) -> Predictor | Ensemble:
    """Return the predictor of a trained model; no code that came with the model is run.

    Parameters
    ----------
    model
        ``models:/name@alias``, ``models:/name/3``, an MLflow run id (or its first eight digits), bare or as
        ``runs:/<run id>``, a run folder, the folder of a package, of a downloaded MLflow model or of a bundle, a zip of
        one of these, or a checkpoint. A list is an ensemble, which answers with their mean.
    uri
        The tracking database, for names in MLflow; None: ``MLFLOW_TRACKING_URI``, else ``sqlite:///mlflow.db``.
    device, precision
        ``auto``, ``cuda`` or ``cpu``; ``auto`` (the fastest that the device does well), ``bf16``, ``fp16``, ``fp32``.

    Raises
    ------
    AstroclfError
        There is no such model, or it is damaged.
    """
    return _registry.load(model, uri, device, precision)
