"""``astroclf explain``, the whole: some images, a model's answers, and where it looked for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroclf.errors import ConfigError
from astroclf.evaluation.predictions import Predictions
from astroclf.evaluation.report.page import write_report
from astroclf.inference.attribution import Attributions, GateEffect, attribute, gate_effect, last_maps
from astroclf.inference.predictor import Predictor
from astroclf.registry.load import load_one
from astroclf.settings.verbs.asking import ExplainConfig
from astroclf.use.asked import ReadImages, read_images, spread, surveyed_inputs
from astroclf.use.explain.pages import draw_sheets, explanation_report, write_table
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.text import nearest


@dataclass(frozen=True)
class Explained:
    """Where a model looked in N images, each asked about one class; an image comes once for every class.

    Attributes
    ----------
    model
        As it was named.
    said
        The answers, whose ids are the names of the images.
    asked_N
        The class that each is asked about.
    found
        Where the model looked for it.
    gate
        What the gate over its features does; None where it has none.
    errors
        What is wrong with each image that could not be read, by its name.
    """

    model: str
    said: Predictions
    asked_N: np.ndarray
    found: Attributions
    gate: GateEffect | None
    errors: dict[str, str]


def explain(config: ExplainConfig, folder: Path, command: str) -> int:
    """Explain some of the inputs, and write page, table and contact sheets.

    Returns
    -------
    int
        The status to end with: 0 all well, 1 some images could not be read.

    Raises
    ------
    AstroclfError
        There is no such model, input or class, or no image could be read.
    """
    predictor = load_one(
        config.model, "be explained", config.tracking.uri, config.trainer.device, config.trainer.precision
    )
    last_maps(predictor)  # a backbone that cannot be explained is refused before anything is read
    named = _named_classes(config.classes, predictor.classes)
    inputs, survey = surveyed_inputs(config.words, predictor.preparation, config.column)
    samples = spread(inputs, survey.count, config.limit)
    if len(samples) < survey.count:
        log.info("Of these, %d are explained, spread evenly: limit=%d.", len(samples), config.limit)
    read = read_images(predictor.preparation, samples, config.batch_size, config.trainer.num_workers)
    explained = _explained(config, predictor, read, named)
    draw_sheets(folder / "sheets", explained)
    write_table(folder / "explanations.csv", explained)
    write_report(folder / "report.html", explanation_report(explained, command))
    log.info("As data   %s", folder / "explanations.csv")
    log.info("Sheets    %s", folder / "sheets")
    log.info("Report    %s", folder / "report.html")
    return 1 if read.errors else 0


def _named_classes(wanted: list[str] | str, classes: Sequence[str]) -> np.ndarray | None:
    """Return the classes that every image is asked about, as label numbers; None: each about its own answer."""
    if wanted == "predicted":
        return None
    names = list(classes) if wanted == "all" else [wanted] if isinstance(wanted, str) else wanted
    for name in names:
        if name not in classes:
            raise ConfigError(f"classes: the model knows no class `{name}`. {nearest(name, classes)}")
    return np.array([classes.index(name) for name in names])


def _explained(config: ExplainConfig, predictor: Predictor, read: ReadImages, named: np.ndarray | None) -> Explained:
    """Ask the model about each image, and about where it looked, in parts that the bar can follow."""
    names, images_NHWC = read.names, read.images_NHWC
    said = predictor.classify(images_NHWC, config.batch_size)
    each = 1 if named is None else len(named)
    rows_N = np.repeat(np.arange(len(names)), each)
    asked_N = said.predicted if named is None else np.tile(named, len(names))
    parts = []
    with ProgressBar("Explaining", len(rows_N)) as bar:
        for start in range(0, len(rows_N), config.batch_size):
            part = slice(start, start + config.batch_size)
            parts.append(
                attribute(
                    predictor,
                    images_NHWC[rows_N[part]],
                    asked_N[part],
                    occlusion=config.occlusion,
                    batch_size=config.batch_size,
                )
            )
            bar.advance(len(asked_N[part]))
    found = Attributions(
        np.concatenate([part.seen_NHWC for part in parts]),
        np.concatenate([part.maps_NHW for part in parts]),
        np.concatenate([part.agreement_N for part in parts if part.agreement_N is not None])
        if config.occlusion
        else None,
    )
    of_rows = replace(said, ids=np.array(names, dtype=object)).take(rows_N)
    gate = gate_effect(predictor, images_NHWC, config.batch_size)
    return Explained(config.model, of_rows, np.asarray(asked_N), found, gate, read.errors)
