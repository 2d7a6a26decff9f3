"""The tested model of a run, handed on: written as a package, registered, and judged by the gate."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from astroclf.data.cache.packed import Images
from astroclf.evaluation.answering import Answering
from astroclf.evaluation.image_statistics import measure, spread_evenly
from astroclf.evaluation.intervals import Interval
from astroclf.evaluation.novelty import fit_novelty
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.predictor import Predictor
from astroclf.inference.profile import MOST_EMBEDDINGS, TrainingProfile
from astroclf.inference.spec import ModelSpec
from astroclf.registry.decision import Decision
from astroclf.registry.gate import pass_gate
from astroclf.registry.package import RUN_FOLDER_PACKAGE, write_and_load
from astroclf.registry.register import register
from astroclf.run.build import Run
from astroclf.run.description import seen_images
from astroclf.run.record import part_name
from astroclf.run.report import TestImages
from astroclf.util.invocation import user_name
from astroclf.util.logs import log

EMBEDDED_AT_ONCE = 1024  # images that are read at a time
MOST_FITTED = 10_000  # training images that the novelty is fitted on: a covariance gains nothing from more


def package_tested(
    run: Run,
    answering: Answering,
    facts: Mapping[str, str],
    metrics: Mapping[str, Any],
    weights: Mapping[str, torch.Tensor],
) -> Predictor:
    """Write the model package of a run, and return the model as it is loaded from there.

    Parameters
    ----------
    weights
        Those that were tested.
    """
    folder = run.folder.path / RUN_FOLDER_PACKAGE
    shutil.rmtree(folder, ignore_errors=True)  # what an end left that was interrupted before it was complete
    spec = _package_spec(run, answering, facts, metrics)
    device, profile = run.trainer.precision.device, _profile(run, spec)
    return write_and_load(folder, spec, weights, seen_images(run.data), str(device), profile)


def _profile(run: Run, spec: Mapping[str, Any]) -> TrainingProfile:
    """Measure what the training images are like, by the network as it will answer, and say what came of it."""
    described, precision = ModelSpec(**spec, weights_sha256=""), run.trainer.precision
    predictor = Predictor(run.network, described, precision.device, precision=precision.name)
    cache, splits, share = run.data.cache, run.data.splits, run.config.evaluation.novel_share
    train = splits.train[spread_evenly(len(splits.train), MOST_FITTED)]
    val = splits.val
    validation_NF = embedded(predictor, cache.images, val)
    novelty = None
    if share is not None:
        novelty = fit_novelty(
            embedded(predictor, cache.images, train), cache.catalog.labels[train], validation_NF, share
        )
        said = f"{len(train):,} training and {len(val):,} validation images"
        if novelty is None:
            log.info("No novelty: on %s, none can be fitted.", said)
        else:
            log.info("Novelty, fitted on %s: beyond 1, an image is flagged as unlike them.", said)
    kept = spread_evenly(len(val), MOST_EMBEDDINGS)
    statistics = measure(cache.images[splits.train[spread_evenly(len(splits.train))]])
    return TrainingProfile(novelty, statistics, validation_NF[kept].astype(np.float16))


def embedded(predictor: Predictor, images: Images, rows: np.ndarray) -> np.ndarray:
    """Compute the embeddings of these rows, (n, F), of images that memory need not hold together."""
    starts = range(0, max(1, len(rows)), EMBEDDED_AT_ONCE)
    return np.concatenate([predictor.embed(images[rows[start : start + EMBEDDED_AT_ONCE]]) for start in starts])


def _package_spec(
    run: Run, answering: Answering, facts: Mapping[str, str], metrics: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **run.trainer.description["spec"],
        **answering.to_plain(),
        "facts": dict(facts),
        "metrics": {name: value for name, value in metrics.items() if isinstance(value, (int, float))},
    }


def register_tested(
    run: Run,
    facts: Mapping[str, str],
    metrics: dict[str, Any],
    predictions: Predictions,
) -> Decision | None:
    """Register the package, let the gate decide, and add both to the metrics; None where nothing is registered."""
    tracking, name = run.config.tracking, run.config.model_name
    if not tracking.uri or not run.config.registers or run.tracker.run_id is None:
        return None
    tags = {  # few, for MLflow shows each as a row; all the rest is said in the description
        "registered_by": user_name(),
        **{key: metrics[key] for key in ("test/accuracy", "test/macro_f1")},
        **{key: facts[key] for key in ("data_fingerprint", "test_fingerprint", "run_folder")},
    }
    lines = [
        f"**{part_name(run.config.backbone.target)}** trained on **{run.config.dataset.name}**, registered by "
        f"{user_name()}.",
        "",
        f"Test accuracy {with_interval(metrics, 'accuracy')}, macro F1 {with_interval(metrics, 'macro_f1')} on "
        f"{metrics['test/images']} images (95 % intervals), calibration error {metrics['test/ece']:.4f}. Guessing "
        f"gets an accuracy of {metrics['test/chance_accuracy']:.3f}, always saying the most common class "
        f"{metrics['test/majority_accuracy']:.3f}.",
        "",
        f"Repeat it with `{run.command}`.",
        "",
        *(f"- {name.replace('_', ' ')}: `{value}`" for name, value in facts.items()),
    ]
    number = register(
        tracking.uri,
        run.folder.path / RUN_FOLDER_PACKAGE,
        name,
        run.tracker.run_id,
        tags=tags,
        description="\n".join(lines),
    )
    precision, policy = run.trainer.precision, run.config.promotion  # the number format of the test
    images = TestImages(run.data.cache.images, run.data.splits.test)
    decision = pass_gate(tracking.uri, name, number, predictions, images.__getitem__, precision, policy)
    model = f"models:/{name}/{number}"
    metrics |= {"run/model": model, "run/alias": decision.alias, "run/promotion": decision.sentence}
    return decision


def with_interval(metrics: Mapping[str, Any], name: str) -> str:
    """Write a figure of the test with its interval."""
    value, low, high = (metrics[f"test/{name}{end}"] for end in ("", "_low", "_high"))
    return f"{value:.4f} {Interval(low, high)}"
