"""One exploration, from settings to page: images embedded by a model, mapped, compared, and the next ones to label."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np

from astroclf.errors import DataError
from astroclf.inference.inputs import Inputs
from astroclf.registry.load import load_one
from astroclf.settings.verbs.asking import ExploreConfig
from astroclf.use.asked import surveyed_inputs
from astroclf.use.explore.embedding import Embedded, embed
from astroclf.use.explore.neighbours import directions, map_of, nearest_images, neighbours_accuracy, to_label_next
from astroclf.use.explore.page import Exploration, thumbnail_side, write_page
from astroclf.use.explore.written import WrittenAnswers, written_answers
from astroclf.util.atomic import write_text
from astroclf.util.logs import log
from astroclf.util.version import __version__

NEIGHBOURS = 12


def explore(config: ExploreConfig, folder: str | Path, command: str) -> int:
    """Explore the inputs, and leave ``explore.html`` and ``label_next.csv`` in `folder`.

    Returns
    -------
    int
        The status to end with: 0, or 1 where some images could not be read.

    Raises
    ------
    AstroclfError
        There is no such model, input or column of labels, or no image can be read.
    """
    written = written_answers(Path(config.words[0])) if len(config.words) == 1 else None
    if written is not None:
        log.info("Answers and embeddings are read from %s.", written.path)
        words, column = written.inputs
        config = replace(
            config, model=config.named_model or written.model, inputs=words, column=config.column or column
        )
    purpose = "be explored: each of its models has an embedding of its own"
    model = load_one(config.model, purpose, config.tracking.uri, config.trainer.device, config.trainer.precision)
    inputs, survey = surveyed_inputs(config.words, model.preparation, config.column)
    known = np.arange(survey.count) if written is None else _answered(written, inputs, survey.count)
    rows = _some(known, config.max_images, config.seed)
    side = thumbnail_side(len(rows), model.spec.image_size)
    found = embed(
        model,
        inputs,
        rows,
        labels=config.labels,
        thumbnail_side=side,
        num_workers=config.trainer.num_workers,
        written=written,
    )
    exploration = _explored(config, found)
    about = {
        "model": config.model,
        "images": _images_said(found, survey.count),
        "embeddings": f"{found.features.shape[1]:,} numbers an image: what the backbone makes of it, before any head",
        "map": f"PCA, then t-SNE; seed {config.seed}. Near is alike; distances between far groups mean nothing",
        "astroclf": __version__,
    }
    folder = Path(folder)
    write_text(folder / "label_next.csv", _label_next(exploration))
    write_page(folder / "explore.html", exploration, about, command)
    for line in exploration.sentences():
        log.info("%s", line)
    log.info("Next to label  %s", folder / "label_next.csv")
    log.info("Page           %s", folder / "explore.html")
    return 1 if found.failed else 0


def _explored(config: ExploreConfig, found: Embedded) -> Exploration:
    log.info("Finding neighbours and laying out the map of %s images.", f"{len(found):,}")
    directions_NF = directions(found.features)
    rows_NK, cosines_NK = nearest_images(directions_NF, NEIGHBOURS)
    chosen, worth = to_label_next(directions_NF, found.answers.uncertainty, found.labels != "", config.label_next)
    return Exploration(
        found,
        map_of(found.features, config.seed),
        rows_NK,
        cosines_NK,
        chosen,
        worth,
        neighbours_accuracy(rows_NK, cosines_NK, found.labels),
    )


def _answered(written: WrittenAnswers, inputs: Inputs, count: int) -> np.ndarray:
    """Return the places of the inputs that have an answer in the table, and say how many have none."""
    found = np.flatnonzero(written.rows_of([sample.name for sample in inputs.samples()]) >= 0)
    if not len(found):
        raise DataError(f"{written.path} has an answer about none of the {count:,} images.")
    if len(found) < count:
        log.warning("%s of %s images have no answer in %s.", f"{count - len(found):,}", f"{count:,}", written.path)
    return found


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    """Choose the images that are explored: all, or as many as the page can bear, drawn at random."""
    if len(rows) <= most:
        return rows
    log.info("Of %s images %s are explored, drawn at random (max_images=, seed=).", f"{len(rows):,}", f"{most:,}")
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _images_said(found: Embedded, total: int) -> str:
    said = f"{len(found):,}"
    if len(found) + found.failed < total:
        said += f" of {total:,}, drawn at random"
    if found.failed:
        said += f"; {found.failed:,} more could not be read"
    return said


def _label_next(exploration: Exploration) -> str:
    answers, labels = exploration.found.answers, exploration.found.labels
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["rank", "path", "known_label", "label", "confidence", "uncertainty", "worth"])
    for rank, (row, worth) in enumerate(zip(exploration.chosen.tolist(), exploration.worth, strict=True), 1):
        said = answers.classes[answers.predicted[row]]
        figures = (answers.confidence[row], answers.uncertainty[row], worth)
        writer.writerow([rank, answers.ids[row], labels[row], said, *(f"{figure:.6g}" for figure in figures)])
    return file.getvalue()
