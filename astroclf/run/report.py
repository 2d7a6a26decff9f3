"""``report.html`` of a run, with what is known of it beside its folder: the data, the record, the champion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.cache.packed import Images
from astroclf.errors import ConfigError, TrackingError
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.answers import SHOWN_SAMPLES, Pictures, suspects_section
from astroclf.evaluation.report.of_run import Background, run_report
from astroclf.evaluation.report.page import write_report
from astroclf.evaluation.suspects import Suspects
from astroclf.inference.attribution import attribute, overlay
from astroclf.inference.predictor import Predictor
from astroclf.registry.decision import Decision
from astroclf.registry.versions import RegisteredModel
from astroclf.run.build import Run
from astroclf.run.record import part_name
from astroclf.tracking.address import absolute_uri, hide_password
from astroclf.tracking.runs import changed_params
from astroclf.util.logs import log

# What two runs may differ in without being another experiment.
NOT_COMPARED = ("tracking.", "resume", "dataset.cache_dir", "trainer.num_workers", "trainer.save_every_minutes")
EXPLAINED_AT_ONCE = 8  # images whose gradients are held: fewer than any training holds that fits the device


@dataclass(frozen=True)
class RunReport:
    """The report of a run that is tested; written once before its model is registered, and again with the decision.

    Attributes
    ----------
    suspects
        Test images whose label is probably wrong.
    facts
        Environment and fingerprints.
    trust
        How the probabilities were calibrated, in words.
    """

    run: Run
    predictions: Predictions
    pictures: Pictures
    suspects: Suspects
    facts: Mapping[str, Any]
    trust: str

    def write(self, metrics: Mapping[str, Any], decision: Decision | None = None) -> None:
        """Write ``report.html`` into the run folder.

        Parameters
        ----------
        metrics
            With the names of ``metrics.json``.
        decision
            The gate's, once it is known.
        """
        background = self._background(metrics, decision)
        more = [suspects_section(self.predictions, self.pictures, self.suspects)]
        page = run_report(self.run.folder.path, self.predictions, metrics, background, self.pictures, more)
        write_report(self.run.folder.path / "report.html", page)

    def _background(self, metrics: Mapping[str, Any], decision: Decision | None) -> Background:
        run, config = self.run, self.run.config
        parts = (f"{config.dataset.name}: {part_name(config.backbone.target)}", run.data.caveat)
        counts = [f"{len(getattr(run.data.splits, name)):,}" for name in ("train", "val", "test")]
        what = {
            "data": str(config.dataset.path or config.dataset.target),
            "images": f"{counts[0]} training, {counts[1]} validation, {counts[2]} test",
            "data fingerprint": run.data.cache.fingerprint,
            "test fingerprint": run.data.splits.fingerprints["test"],
            "code": str(self.facts.get("astroclf", "")),
            "run folder": str(run.folder.path.absolute()),
            "record": run.tracker.where_to_look(),
        }
        links, server = {}, _server(config.tracking.uri)
        if server:
            links["record"] = run.tracker.where_to_look()
        if decision is not None:
            name, _, number = str(metrics["run/model"]).removeprefix("models:/").rpartition("/")
            what["model"] = f"{metrics['run/model']} {decision.sentence}."
            if server:
                links["model"] = f"{server}/#/models/{name}/versions/{number}"
        changes, champion = self._beside_champion(decision)
        return Background(
            title=", ".join(filter(None, parts)),
            command=run.command,
            what=what,
            links=links,
            changes=changes,
            champion=champion,
            facts=self.facts,
            trust=self.trust,
        )

    def _beside_champion(self, decision: Decision | None) -> tuple[Sequence[tuple[str, str, str]], str]:
        """Return what differs from the version to beat, and its name; a store that does not answer costs no run."""
        if decision is None or decision.compared_with is None:
            return (), ""
        config = self.run.config
        name = f"models:/{config.model_name}/{decision.compared_with}"
        uri = absolute_uri(str(config.tracking.uri))
        try:
            run_id = RegisteredModel(uri, config.model_name).version(decision.compared_with).run_id
            changes = changed_params(uri, run_id, config.to_plain())
        except TrackingError as error:
            log.warning("The report does not say what differs from %s: %s", name, error)
            return (), ""
        return [change for change in changes if not change[0].startswith(NOT_COMPARED)], name


def shown_of(cache: ImageCache, rows: np.ndarray) -> Pictures:
    """Return what can be shown of some images: their pixels, and their places on the sky where these are known."""
    return Pictures(TestImages(cache.images, rows), *cache.catalog.take(rows).places_on_sky())


def with_heat_maps(pictures: Pictures, predictions: Predictions, predictor: Predictor) -> Pictures:
    """Add where the model looked in the most confident mistakes; nothing where its backbone has no maps to show.

    Parameters
    ----------
    predictor
        The model that gave the predictions.
    """
    chosen = predictions.mistakes(SHOWN_SAMPLES)
    if pictures.images is None or not len(chosen):
        return pictures
    images_NHWC = np.stack([pictures.images[index] for index in chosen])
    try:
        found = attribute(predictor, images_NHWC, predictions.predicted[chosen], batch_size=EXPLAINED_AT_ONCE)
    except ConfigError as error:
        log.info("The report has no heat maps: %s", error)
        return pictures
    looked = [overlay(*pair) for pair in zip(found.seen_NHWC, found.maps_NHW, strict=True)]
    return replace(pictures, heat_maps=dict(zip(chosen.tolist(), looked, strict=True)))


class TestImages(Sequence[np.ndarray]):
    """The test images by their place in the predictions, read from the image cache when asked for."""

    def __init__(self, images: Images, rows: np.ndarray) -> None:
        self.images, self.rows = images, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:  # type: ignore[override]
        return self.images[self.rows[index]]


def _server(uri: Any) -> str:
    """Return the address of MLflow's pages; empty where it has none."""
    return hide_password(str(uri)).rstrip("/") if str(uri).startswith("http") else ""
