"""One evaluation, from settings to report: a model, and others beside it, asked about images that none has seen."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.errors import DataError
from astroclf.evaluation.class_map import ClassMap, common_classes, mapped_predictions, read_class_map
from astroclf.evaluation.compare import Comparison, compare_with
from astroclf.evaluation.image_statistics import measure, spread_evenly
from astroclf.evaluation.orientation import Orientation, orientation
from astroclf.evaluation.predictions import Predictions, joined, write_predictions
from astroclf.evaluation.report.answers import Pictures
from astroclf.evaluation.shift import Shift, shift_between
from astroclf.inference.ensemble import Ensemble
from astroclf.inference.predictor import Predictor
from astroclf.inference.profile import MOST_EMBEDDINGS
from astroclf.registry.load import load
from astroclf.run.data import decoded
from astroclf.run.report import shown_of
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.use.evaluation.images import Chosen, choose_rows, reader_for
from astroclf.use.evaluation.registration import check_registration, recalibrated, register_ensemble
from astroclf.use.evaluation.report import draw, write
from astroclf.use.evaluation.result import CommonClass, Evaluation
from astroclf.use.evaluation.tables import results
from astroclf.util.atomic import write_text
from astroclf.util.heap import keep_freed_memory
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
    contender, evaluation, pictures = _evaluated(config)
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
    if config.register is not None:
        assert isinstance(contender.model, Ensemble)
        register_ensemble(config, contender.model, evaluation, contender.caches, folder, command)
    return 1 if evaluation.notes else 0


def _evaluated(config: EvaluateConfig) -> tuple[_Contender, Evaluation, Pictures]:
    dataset, workers = config.dataset, config.trainer.num_workers
    given = read_class_map(config.class_map)  # first of all: nobody waits for a data set to hear of a wrong file
    together = [config.names, *([rival] for rival in config.rivals)]  # the models of each that is evaluated
    names = [" + ".join(each) for each in together]
    keep_freed_memory()
    models = [load(each, config.tracking.uri, config.trainer.device, config.trainer.precision) for each in together]
    if config.register is not None:
        check_registration(config, models[0])
    members = [member for model in models for member in model.members]
    readers = [reader_for(member, dataset) for member in members]
    of_data = readers[0].catalog.classes
    classes = common_classes(given, {n: m.classes for n, m in zip(names, models, strict=True)}, of_data)
    if unused := classes.unused(of_data, *(model.classes for model in models)):
        log.warning("class_map names classes that neither the data set nor a model has: %s.", ", ".join(unused))
    caches = [decoded(reader, dataset, workers) for reader in readers]
    left_out = classes.members(of_data, "the data set")[None]
    cache, chosen = choose_rows(caches[0], dataset, members, config.split, left_out)
    asked, notes = _asked(cache, chosen, classes)
    if config.register is not None and isinstance(models[0], Ensemble):
        models[0] = recalibrated(models[0], caches[: len(models[0].members)], config)
    waiting = iter(caches)
    contenders = [
        _Contender(name, model, list(islice(waiting, len(model.members))))
        for name, model in zip(names, models, strict=True)
    ]
    first, *rivals = contenders
    common = [] if given is None else _common(classes, first, of_data, asked.labels)
    notes += [
        f"No class of {first.name} becomes {each.name}: it cannot be right about these {each.images:,} images."
        for each in common
        if each.images and not each.of_model
    ]
    (before, ours), *theirs = [_answers(each, asked, classes) for each in contenders]
    evaluation = Evaluation.of(
        first.name,
        dataset.path or dataset.name,
        ours,
        before,
        chosen,
        turned=_turned(first, ours, classes, config.turned_images),
        comparisons=[_compared(rival.name, other, ours) for rival, (_, other) in zip(rivals, theirs, strict=True)],
        shift=_shift(first, ours),
        common=common,
        notes=notes,
    )
    return first, evaluation, _pictures(caches[0], ours.ids)


class _Contender(NamedTuple):
    """A model that is evaluated, and the images as it takes them: those of an ensemble as each member does."""

    name: str
    model: Predictor | Ensemble
    caches: list[ImageCache]  # one for each member

    def rows_of(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where each member's cache has the samples, (members, K) int, and which of them all have, (N,) bool.

        A model may have no rule for some files.
        """
        rows = np.zeros((len(self.caches), len(ids)), np.int64)
        for own, cache in zip(rows, self.caches, strict=True):
            row_of = {name: row for row, name in enumerate(cache.catalog.ids.tolist())}
            own[:] = [row_of.get(name, -1) for name in ids.tolist()]
        found = np.all(rows >= 0, axis=0)
        return rows[:, found], found

    def in_parts(self, rows: np.ndarray, doing: str) -> Iterator[list[np.ndarray]]:
        """Yield the images of these rows in parts, as each member takes them; a bar shows how far that is."""
        with ProgressBar(doing, rows.shape[1]) as bar:
            for start in range(0, rows.shape[1], IMAGES_PER_STEP):
                part = rows[:, start : start + IMAGES_PER_STEP]
                yield [cache.images[own] for cache, own in zip(self.caches, part, strict=True)]
                bar.advance(part.shape[1])

    def said_of(self, images: list[np.ndarray]) -> tuple[Predictions, Predictions]:
        """Return what its network says of a part, and what it answers."""
        model = self.model
        return model.before_and_after(images) if isinstance(model, Ensemble) else model.before_and_after(images[0])

    def views_of(self, images: list[np.ndarray]) -> np.ndarray:
        """Return what it says of each of the eight views of a part, (8, N, C)."""
        model = self.model
        return model.views(images) if isinstance(model, Ensemble) else model.views(images[0])


class _Asked(NamedTuple):
    """The images that models are asked about."""

    ids: np.ndarray
    labels: np.ndarray  # in the common classes


def _asked(cache: ImageCache, chosen: Chosen, classes: ClassMap) -> tuple[_Asked, list[str]]:
    """Return the chosen images with their common classes, and what must be known of them."""
    catalog = cache.catalog.take(chosen.rows)
    labels = classes.of(catalog.classes, "the data set")[catalog.labels]
    notes = [f"{len(cache.skipped):,} files could not be read and are left out."] * bool(cache.skipped)
    return _Asked(catalog.ids, labels), notes + [chosen.unsound] * bool(chosen.unsound)


def _common(classes: ClassMap, first: _Contender, of_data: Sequence[str], labels: np.ndarray) -> list[CommonClass]:
    """Return what was brought together, and what was left out."""
    of_model, of_images = classes.members(first.model.classes, first.name), classes.members(of_data, "the data set")
    images = np.bincount(labels, minlength=len(classes.classes)).tolist()
    counted = [*zip(classes.classes, images, strict=True), (None, 0)]
    found = [CommonClass(name, of_model[name], of_images[name], count) for name, count in counted]
    return [each for each in found if each.of_model or each.of_data]


def _answers(contender: _Contender, asked: _Asked, classes: ClassMap) -> tuple[Predictions, Predictions]:
    """Ask a model about the images: what its network says, and its answers, in the common classes and with labels."""
    rows, found = contender.rows_of(asked.ids)
    if not found.any():
        raise DataError(f"There is no image that {contender.name} could be asked about.")
    parts = contender.in_parts(rows, f"Asking {contender.name}")
    before, after = (
        replace(mapped_predictions(joined(each), classes), ids=asked.ids[found], labels=asked.labels[found])
        for each in zip(*(contender.said_of(images) for images in parts), strict=True)
    )
    return before, after


def _compared(name: str, other: Predictions, ours: Predictions) -> Comparison:
    """Compare on the images that both could be asked about."""
    both = np.intersect1d(other.ids, ours.ids)
    if not len(both):
        raise DataError(f"There is no image that both could be asked about, {name} and the model.")
    return compare_with(name, *(each.take(np.flatnonzero(np.isin(each.ids, both))) for each in (other, ours)))


def _turned(contender: _Contender, ours: Predictions, classes: ClassMap, count: int) -> Orientation | None:
    """Look at the eight views of some of the images, spread evenly over them."""
    if not count:
        return None
    some = ours.take(np.unique(np.linspace(0, len(ours) - 1, count).astype(int)))
    rows, _ = contender.rows_of(some.ids)
    parts = [contender.views_of(images) for images in contender.in_parts(rows, "Turning images")]
    views_VNC = np.concatenate(parts, axis=1)
    names, ids, doubt = contender.model.classes, some.ids, np.zeros(len(some))
    in_common = [mapped_predictions(Predictions(names, ids, view, doubt), classes) for view in views_VNC]
    return orientation(some, np.stack([each.probabilities for each in in_common]))


def _shift(contender: _Contender, ours: Predictions) -> Shift | None:
    """Hold some of the images beside the training images of a single model; None where it does not know these."""
    profile = contender.model.members[0].profile
    if len(contender.model.members) > 1 or profile is None:
        return None
    rows, _ = contender.rows_of(ours.ids[spread_evenly(len(ours))])
    images_NHWC = np.asarray(contender.caches[0].images[rows[0]])
    some_NHWC = images_NHWC[spread_evenly(len(images_NHWC), MOST_EMBEDDINGS)]
    embeddings = contender.model.members[0].embed(some_NHWC), profile.embeddings_NF.astype(np.float32)
    return shift_between(measure(images_NHWC), profile.statistics, "the training images", embeddings)


def _pictures(cache: ImageCache, ids: np.ndarray) -> Pictures:
    row_of = {name: row for row, name in enumerate(cache.catalog.ids.tolist())}
    rows = np.array([row_of[name] for name in ids.tolist()])
    return shown_of(cache, rows)
