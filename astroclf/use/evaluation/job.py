"""One evaluation, from settings to report: a model, and others beside it, asked about images that none has seen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.errors import DataError
from astroclf.evaluation.class_map import ClassMap, common_classes, mapped_predictions, read_class_map
from astroclf.evaluation.compare import Comparison, compare_with
from astroclf.evaluation.orientation import Orientation, orientation
from astroclf.evaluation.predictions import Predictions, joined, write_predictions
from astroclf.evaluation.report.answers import Pictures
from astroclf.inference.predictor import Predictor
from astroclf.registry.load import load
from astroclf.run.report import TestImages
from astroclf.settings.commands import EvaluateConfig
from astroclf.use.evaluation.images import Chosen, choose_rows, decoded, reader_for
from astroclf.use.evaluation.report import draw, write
from astroclf.use.evaluation.result import Evaluation
from astroclf.use.evaluation.tables import results
from astroclf.util.atomic import write_text
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.terminal import console

IMAGES_PER_STEP = 256  # of the progress bar, while a model is asked


def evaluate(config: EvaluateConfig, folder: str | Path, command: str) -> int:
    """Evaluate the configured model, and leave ``report.html``, ``metrics.json`` and ``predictions.csv`` in `folder`.

    Returns
    -------
    int
        The status to end with: 0, or 1 where some images could not be looked at or are no fair test.

    Raises
    ------
    AstroclfError
        There is no such model or data set, or their classes differ and no map joins them.
    """
    evaluation, pictures = _evaluated(config)
    folder, metrics = Path(folder), evaluation.metrics()
    write_predictions(folder / "predictions.csv", evaluation.predictions)
    write_text(folder / "metrics.json", json.dumps(metrics, indent=2, ensure_ascii=False) + "\n")
    draw(folder, evaluation)
    write(folder, evaluation, pictures, command)
    console().print(results(evaluation))
    for note in evaluation.notes:
        log.warning("%s", note)
    log.info("Report    %s", folder / "report.html")
    log.info("As data   %s", folder / "metrics.json")
    return 1 if evaluation.notes else 0


def _evaluated(config: EvaluateConfig) -> tuple[Evaluation, Pictures]:
    dataset, workers = config.dataset, config.trainer.num_workers
    given = read_class_map(config.class_map)  # first of all: nobody waits for a data set to hear of a wrong file
    names = [str(config.model), *config.rivals]
    models = [load(name, config.tracking.uri, config.trainer.device) for name in names]
    readers = [reader_for(model, dataset) for model in models]
    of_data = readers[0].catalog.classes
    classes = common_classes(given, {n: m.classes for n, m in zip(names, models, strict=True)}, of_data)
    if unused := classes.unused(of_data, *(model.classes for model in models)):
        log.warning("class_map names classes that neither the data set nor a model has: %s.", ", ".join(unused))
    caches = [decoded(reader, dataset, workers) for reader in readers]
    cache, chosen = choose_rows(caches[0], dataset, models, config.split)
    asked, notes = _asked(cache, chosen, classes)
    ours, *theirs = [
        _answers(name, model, each, asked, classes) for name, model, each in zip(names, models, caches, strict=True)
    ]
    evaluation = Evaluation.of(
        names[0],
        dataset.path or dataset.name,
        ours,
        chosen,
        turned=_turned(models[0], caches[0], ours, classes, config.turned_images),
        comparisons=[_compared(name, other, ours) for name, other in zip(names[1:], theirs, strict=True)],
        notes=notes,
    )
    return evaluation, _pictures(caches[0], ours.ids)


class _Asked(NamedTuple):
    """The images that models are asked about."""

    ids: np.ndarray
    labels: np.ndarray  # in the common classes


def _asked(cache: ImageCache, chosen: Chosen, classes: ClassMap) -> tuple[_Asked, list[str]]:
    """Return the chosen images that have a common class, and what must be known of them."""
    catalog = cache.catalog.take(chosen.rows)
    labels = classes.of(catalog.classes, "the data set")[catalog.labels]
    kept = labels >= 0
    if not kept.all():
        log.info("%s of %s images are of classes that class_map leaves out.", f"{(~kept).sum():,}", f"{len(kept):,}")
    if not kept.any():
        raise DataError("class_map leaves out the classes of all the images: none is left to evaluate on.")
    notes = [f"{len(cache.skipped):,} files could not be read and are left out."] * bool(cache.skipped)
    return _Asked(catalog.ids[kept], labels[kept]), notes + [chosen.unsound] * bool(chosen.unsound)


def _answers(name: str, model: Predictor, cache: ImageCache, asked: _Asked, classes: ClassMap) -> Predictions:
    """Ask a model about the images, and return what it says in the common classes, with the labels."""
    rows, found = _rows_of(cache, asked.ids)
    parts = []
    with ProgressBar(f"Asking {name}", len(rows)) as bar:
        for start in range(0, len(rows), IMAGES_PER_STEP):
            part = rows[start : start + IMAGES_PER_STEP]
            parts.append(model.classify(cache.images[part]))
            bar.advance(len(part))
    said = mapped_predictions(joined(parts), classes)
    return replace(said, ids=asked.ids[found], labels=asked.labels[found])


def _rows_of(cache: ImageCache, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of the samples in a cache, and which of them it has: a model may have no rule for some files."""
    row_of = {name: row for row, name in enumerate(cache.catalog.ids.tolist())}
    rows = np.array([row_of.get(name, -1) for name in ids.tolist()], np.int64)
    return rows[rows >= 0], rows >= 0


def _compared(name: str, other: Predictions, ours: Predictions) -> Comparison:
    """Compare on the images that both could be asked about."""
    both = np.intersect1d(other.ids, ours.ids)
    if not len(both):
        raise DataError(f"There is no image that both could be asked about, {name} and the model.")
    return compare_with(name, *(each.take(np.flatnonzero(np.isin(each.ids, both))) for each in (other, ours)))


def _turned(
    model: Predictor, cache: ImageCache, ours: Predictions, classes: ClassMap, count: int
) -> Orientation | None:
    """Look at the eight views of some of the images, spread evenly over them."""
    if not count:
        return None
    chosen = np.unique(np.linspace(0, len(ours) - 1, count).astype(int))
    some = ours.take(chosen)
    rows, _ = _rows_of(cache, some.ids)
    parts = []
    with ProgressBar("Turning images", len(rows)) as bar:
        for start in range(0, len(rows), IMAGES_PER_STEP):
            part = rows[start : start + IMAGES_PER_STEP]
            parts.append(model.views(cache.images[part]))
            bar.advance(len(part))
    views_VNC = np.concatenate(parts, axis=1)
    ids, doubt = some.ids, np.zeros(len(some))
    in_common = [mapped_predictions(Predictions(model.classes, ids, view, doubt), classes) for view in views_VNC]
    return orientation(some, np.stack([each.probabilities for each in in_common]))


def _pictures(cache: ImageCache, ids: np.ndarray) -> Pictures:
    rows, _ = _rows_of(cache, ids)
    ra_deg, dec_deg = (
        column if column is None else column[rows] for column in (cache.catalog.ra_deg, cache.catalog.dec_deg)
    )
    return Pictures(TestImages(cache.images, rows), ra_deg, dec_deg)
