"""Does an exported program say what the model says? Asked before anybody gets it."""

from __future__ import annotations

import numpy as np
import torch

from astroclf.data.decode.images import fit_square
from astroclf.errors import AstroclfError
from astroclf.inference.predictor import DEFAULT_BATCH_SIZE, Predictor
from astroclf.inference.spec import ModelSpec
from astroclf.use.export.formats import Runner
from astroclf.use.export.program import Answers
from astroclf.util.progress import ProgressBar

TOLERANCE = 1e-5  # of probabilities, in float32


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


def check(predictor: Predictor, run: Runner, preprocessing: str, images: np.ndarray) -> float:
    """Compare a program with the model that it was made of, and return the largest difference of a probability.

    Parameters
    ----------
    images : (N, S, S, C) uint8
        Prepared images.

    Raises
    ------
    AstroclfError
        Another label, or a probability that differs by more than `TOLERANCE`.
    """
    wanted, found = predictor.classify(images, DEFAULT_BATCH_SIZE), _run(predictor, run, preprocessing, images)
    pairs = (
        (wanted.probabilities, found.probabilities),
        (wanted.confidence, found.confidence),
        (wanted.uncertainty, found.uncertainty),
    )
    furthest = max(float(np.abs(ours - theirs).max()) for ours, theirs in pairs)
    others = int((wanted.predicted != found.probabilities.argmax(axis=1)).sum())
    if others or not furthest <= TOLERANCE:  # NaN is no pass
        raise AstroclfError(
            f"Nothing was written: on {len(images)} images the exported model gives {others} other labels than the "
            f"model itself, and its answers differ by up to {furthest:.1e} (at most {TOLERANCE:g} is allowed). "
            + (
                "preprocessing=beside leaves out the resampling, which other versions of OpenCV round otherwise."
                if preprocessing == "inside"
                else "Another format may do; the one that was asked for computes something of this network otherwise."
            )
        )
    return furthest


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
    return Answers(*(np.concatenate(column) for column in zip(*parts, strict=True)))
