"""Does what was exported say what the model says? Asked before anybody gets it, on drawn images and on the user's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from astroclf.data.decode.images import fit_square
from astroclf.errors import AstroclfError
from astroclf.evaluation.predictions import Predictions
from astroclf.inference.ensemble import Ensemble, ForMembers
from astroclf.inference.predictor import DEFAULT_BATCH_SIZE, Predictor
from astroclf.inference.spec import ModelSpec
from astroclf.use.asked import read_images, spread, surveyed_inputs
from astroclf.use.export.formats import Runner
from astroclf.use.export.program import Answers
from astroclf.util.progress import ProgressBar

TOLERANCE = 1e-5  # of probabilities, in float32
# Of novelties, in float32 too, as a share of those beyond 1: what is far from all training images has large ones.
NOVELTY_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Trial:
    """Prepared images on which an export is compared with its model.

    Attributes
    ----------
    images
        (N, S, S, C) uint8; of an ensemble such an array for each member, or one for all.
    said
        Which they are, in words.
    names
        Of each, where somebody knows them by names.
    """

    images: ForMembers
    said: str
    names: Sequence[str] = ()


def trials_of(model: Predictor | Ensemble, count: int, words: Sequence[str]) -> list[Trial]:
    """Draw images, and read those of the user's, spread evenly over what `words` name; `count` of either at most.

    Raises
    ------
    AstroclfError
        The words name no image, or none that can be read.
    """
    drawn = [drawn_images(member.spec, count) for member in model.members]
    trials = [Trial(drawn if isinstance(model, Ensemble) else drawn[0], f"{count} drawn images")]
    if words:
        inputs, survey = surveyed_inputs(words, model.preparation)
        samples = spread(inputs, survey.count, count)
        read = read_images(model.preparation, samples, DEFAULT_BATCH_SIZE, None)
        of_all = f"{len(read.names):,} of your" if len(read.names) < survey.count else "your"
        unread = f" ({len(read.errors)} cannot be read)" if read.errors else ""
        said = f"{of_all} {survey.count:,} image{'s' * (survey.count > 1)}{unread}"
        trials.append(Trial(read.images_NHWC, said, read.names))
    return trials


def drawn_images(spec: ModelSpec, count: int) -> np.ndarray:
    """Draw images of many kinds and sizes, and fit them as the model does, (N, S, S, C) uint8.

    In turn: noise; a gradient; a blurred source on a noisy sky; a plain area. Sizes go from a third of the model's to
    three times that, square or not.
    """
    rng = np.random.default_rng(0)
    images = []
    for number in range(count):
        height, width = (int(spec.image_size * factor) + 1 for factor in rng.uniform(0.3, 3.0, 2))
        y_H1, x_1W = np.linspace(-1, 1, height)[:, None, None], np.linspace(-1, 1, width)[None, :, None]
        color_C = rng.uniform(0.2, 1.0, spec.channels)
        if number % 4 == 0:
            values = rng.uniform(0, 255, (height, width, spec.channels))
        elif number % 4 == 1:
            values = (y_H1 * rng.uniform(-1, 1) + x_1W * rng.uniform(-1, 1) + 1) * 127 * color_C
        elif number % 4 == 2:
            across, along = rng.uniform(0.05, 0.5, 2)
            source = np.exp(-((x_1W / across) ** 2) - (y_H1 / along) ** 2)
            values = 220 * source * color_C + rng.normal(12, 4, (height, width, spec.channels))
        else:
            values = np.full((height, width, spec.channels), rng.uniform(0, 255))
        picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        images.append(fit_square(picture, spec.image_size))
    return np.stack(images)


def check_program(predictor: Predictor, run: Runner, preprocessing: str, trials: Iterable[Trial]) -> str:
    """Compare a program with the model that it was made of, and return in words how near it comes.

    Raises
    ------
    AstroclfError
        Another label, or a number that differs by more than `TOLERANCE`.
    """
    remedy = (
        "preprocessing=beside leaves out the resampling, which other versions of OpenCV round otherwise."
        if preprocessing == "inside"
        else "Another format may do; the one that was asked for computes something of this network otherwise."
    )
    found = []
    for trial in trials:
        images_NHWC = np.asarray(trial.images)
        wanted = predictor.classify(images_NHWC, DEFAULT_BATCH_SIZE)
        found.append((trial, _furthest(wanted, _run(predictor, run, preprocessing, images_NHWC), trial, remedy)))
    return _in_words(found)


def check_package(model: Predictor | Ensemble, loaded: Predictor | Ensemble, trials: Iterable[Trial]) -> str:
    """Compare a model with what was loaded from its export, as `check_program` does."""
    remedy = "The disk that it was written to may be failing."
    found = []
    for trial in trials:
        theirs = loaded.classify(trial.images)  # type: ignore[arg-type]  # an ensemble's is one, too
        answers = Answers(theirs.probabilities, theirs.confidence, theirs.uncertainty, theirs.novelty)
        found.append((trial, _furthest(model.classify(trial.images), answers, trial, remedy)))  # type: ignore[arg-type]
    return _in_words(found)


def _furthest(wanted: Predictions, found: Answers, trial: Trial, remedy: str) -> tuple[float, float | None]:
    """Return the largest difference of answers, and of novelties where there are any; refuse too large ones."""
    pairs = (
        (wanted.probabilities, found.probabilities),
        (wanted.confidence[:, None], found.confidence[:, None]),
        (wanted.uncertainty[:, None], found.uncertainty[:, None]),
    )
    off_N = np.max([np.abs(ours - theirs).max(axis=1) for ours, theirs in pairs], axis=0)
    others = wanted.predicted != found.probabilities.argmax(axis=1)
    if others.any() or not (off_N <= TOLERANCE).all():  # NaN is no pass
        what = f"gives {others.sum()} other labels than the model itself, and its answers differ"
        raise _refused(trial, what, off_N, TOLERANCE, remedy)
    if wanted.novelty is None:
        return float(off_N.max()), None
    novelty_off_N = np.abs(wanted.novelty - found.novelty) / np.maximum(1, np.abs(wanted.novelty))
    if not (novelty_off_N <= NOVELTY_TOLERANCE).all():
        raise _refused(trial, "has other novelties, which differ", novelty_off_N, NOVELTY_TOLERANCE, remedy)
    return float(off_N.max()), float(novelty_off_N.max())


def _refused(trial: Trial, what: str, off_N: np.ndarray, allowed: float, remedy: str) -> AstroclfError:
    worst = f" (most for {trial.names[int(off_N.argmax())]})" if trial.names else ""
    return AstroclfError(
        f"Nothing was written: on {trial.said} the exported model {what} by up to {off_N.max():.1e}{worst} "
        f"(at most {allowed:g} is allowed). {remedy}"
    )


def _in_words(found: Sequence[tuple[Trial, tuple[float, float | None]]]) -> str:
    within = " and ".join(f"{_difference(*furthest)} on {trial.said}" for trial, furthest in found)
    return f"labels equal and answers {within}"


def _difference(furthest: float, of_novelty: float | None) -> str:
    answers, novelty = (f"within {off:.0e}" if off else "the same" for off in (furthest, of_novelty))
    return answers if of_novelty is None or answers == novelty else f"{answers} (novelty {novelty})"


def shown_to(predictor: Predictor, preprocessing: str, images: np.ndarray) -> np.ndarray:
    """Return what a program takes of prepared images: themselves, or what the model's evaluation transform makes."""
    if preprocessing == "beside":
        images = predictor.augmentation(torch.from_numpy(images), None).numpy()
    return np.ascontiguousarray(images)


def _run(predictor: Predictor, run: Runner, preprocessing: str, images: np.ndarray) -> Answers:
    """Run a program on images, in batches whose lengths differ: it must take any."""
    parts: list[Answers] = []
    start = 0
    with ProgressBar("comparing", len(images)) as bar:
        while start < len(images):
            length = (1, 3, DEFAULT_BATCH_SIZE)[min(len(parts), 2)]
            batch = images[start : start + length]
            parts.append(run(shown_to(predictor, preprocessing, batch)))
            bar.advance(len(batch))
            start += length
    return Answers(*(None if column[0] is None else np.concatenate(column) for column in zip(*parts, strict=True)))
