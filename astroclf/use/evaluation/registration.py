"""An ensemble that was evaluated becomes one registered model, if it passes the gate that every training passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.errors import AstroclfError, ConfigError
from astroclf.evaluation.answering import fit_answering
from astroclf.evaluation.novelty import fit_scale
from astroclf.evaluation.predictions import joined
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.models.precision import choose_precision
from astroclf.registry.decision import Decision
from astroclf.registry.gate import pass_gate
from astroclf.registry.package import write_ensemble
from astroclf.registry.register import register
from astroclf.settings.evaluation import PromotionSettings
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.settings.yaml_files import yaml_values
from astroclf.tracking.mlflow import MlflowTracker
from astroclf.use.evaluation.images import validation_rows
from astroclf.use.evaluation.result import Evaluation
from astroclf.util.invocation import user_name
from astroclf.util.logs import log

EXPERIMENT = "ensembles"  # of MLflow: what is evaluated there was trained in other runs
_RUN_FILES = ("predictions.csv", "metrics.json", "report.html")
_STEP = 256  # images that the members are asked about at once


def check_registration(config: EvaluateConfig, model: Predictor | Ensemble) -> None:
    """Refuse, by a ConfigError, to register what is no ensemble, or answers in other classes than its own."""
    if not isinstance(model, Ensemble):
        raise ConfigError(
            "register= puts an ensemble into the registry: name its models, model=[A,B,C]. A model of its own is "
            "registered by the run that trains it."
        )
    if config.class_map is not None:
        raise ConfigError("register= needs the models' own classes: leave class_map out.")


def recalibrated(ensemble: Ensemble, caches: Sequence[ImageCache], config: EvaluateConfig) -> Ensemble:
    """Return the ensemble with its mean calibrated on the members' validation images that no member was trained on.

    The mean of calibrated models is less sure than it is right (arXiv:2007.08792), has no prediction sets of its own,
    and a novelty that is beyond 1 for fewer images than each member's. Where there are no such images, it stays as it
    is, and that is said.

    Parameters
    ----------
    caches
        The data set as each member takes it.
    """
    defaults = yaml_values("config")["evaluation"]
    rows, why_not = validation_rows(caches[0], ensemble.members)
    if why_not:
        log.info("The ensemble is not calibrated anew, and gives no prediction sets: %s", why_not)
        return ensemble
    catalog = caches[0].catalog.take(rows)
    ids = catalog.ids
    places = _places(ids, caches)
    parts = [_pixels(caches, [own[start : start + _STEP] for own in places]) for start in range(0, len(rows), _STEP)]
    plain_mean = Ensemble(ensemble.members)  # without what an earlier registration fitted
    said = joined([plain_mean.classify(images) for images in parts])
    labels = np.array([ensemble.classes.index(name) for name in catalog.classes])[catalog.labels]
    labelled = replace(said, ids=ids, labels=labels)
    fit = fit_answering(labelled, defaults["calibration"], defaults["coverage"], uncertainty_head=False)
    for sentence in fit.sentences:
        log.info("The ensemble: %s", sentence)
    share = defaults["novel_share"]
    scale = None if said.novelty is None or share is None else fit_scale(said.novelty, share)
    return Ensemble(ensemble.members, ensemble.spec, replace(fit.answering, novelty=scale))


def register_ensemble(
    config: EvaluateConfig,
    ensemble: Ensemble,
    evaluation: Evaluation,
    caches: Sequence[ImageCache],
    folder: Path,
    command: str,
) -> Decision:
    """Register the evaluated ensemble, packaged in its folder, under a run of its own, and let the gate decide.

    Raises
    ------
    AstroclfError
        The images are no fair test of it, or the database refuses.
    """
    name, uri = str(config.register), config.tracking.uri
    if evaluation.chosen.unsound:
        raise AstroclfError(f"The ensemble was not registered: {evaluation.chosen.unsound}")
    metrics = {key: value for key, value in evaluation.metrics().items() if isinstance(value, int | float)}
    facts = {
        "members": config.names,
        "test_fingerprint": evaluation.chosen.fingerprint,
        "tested_on": evaluation.data,
        "run_folder": str(folder.absolute()),
    }
    package = write_ensemble(folder / "model", ensemble.members, ensemble.answering, facts=facts, metrics=metrics)
    tags: dict[str, Any] = {
        "registered_by": user_name(),
        "members": ", ".join(config.names),
        **{key: metrics[key] for key in ("test/accuracy", "test/macro_f1")},
        "test_fingerprint": evaluation.chosen.fingerprint,
        "run_folder": str(folder.absolute()),
    }
    tracker = MlflowTracker(
        uri,
        EXPERIMENT,
        run_name=f"ensemble of {len(ensemble.members)}",
        params={"model": config.names, "dataset": {"name": config.dataset.name, "path": config.dataset.path}},
        tags={**tags, "command": command},
    )
    decided = False
    try:
        tracker.log_metrics(metrics, 0)
        tracker.flush()
        for file in _RUN_FILES:  # before the version may become champion: whoever is compared with it reads them
            tracker.log_artifact(folder / file)
        description = (
            f"**Ensemble** of {', '.join(f'`{each}`' for each in config.names)}, registered by {user_name()}. Test "
            f"accuracy {metrics['test/accuracy']:.4f} on {len(evaluation.predictions)} images.\n\n"
            f"Repeat it with `{command}`."
        )
        number = register(uri, package, name, tracker.run_id, tags=tags, description=description)
        places = _places(evaluation.predictions.ids, caches)
        decision = pass_gate(
            uri, name, number, evaluation.predictions, lambda chosen: _pixels(caches, [own[chosen] for own in places]),
            choose_precision("fp32", ensemble.members[0].device),
            PromotionSettings(**yaml_values("config")["promotion"]),
        )  # fmt: skip
        decided = True
    finally:
        tracker.close("FINISHED" if decided else "FAILED")
    log.info("Model     models:/%s/%d %s.", name, number, decision.sentence)
    return decision


def _places(ids: np.ndarray, caches: Sequence[ImageCache]) -> list[np.ndarray]:
    """Return the rows of samples in the cache of each member."""
    rows = [{name: row for row, name in enumerate(cache.catalog.ids.tolist())} for cache in caches]
    return [np.array([row_of[name] for name in ids.tolist()], np.int64) for row_of in rows]


def _pixels(caches: Sequence[ImageCache], rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Return the images at these rows as each member takes them."""
    return [cache.images[own] for cache, own in zip(caches, rows, strict=True)]
