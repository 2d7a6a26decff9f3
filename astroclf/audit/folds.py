"""What networks say of samples that they were not trained on: a data set in folds, each judged by a network of its own.

The recipe is fixed, and small enough for minutes on two cores: a ResNet18 from random weights on small images, the
default augmentation, optimizer and schedule, as many epochs as the number of samples asks for. It does not validate
or keep weights: nothing but its answers is wanted.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np

from astroclf.config.build import build
from astroclf.config.compose import composed_as
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import Catalog
from astroclf.data.split.assign import Splits, assign_folds
from astroclf.data.split.groups import group_rows
from astroclf.data.split.links import Links
from astroclf.engine.signals import signal_of, terminable
from astroclf.engine.state import planned_steps
from astroclf.errors import Interrupted, TrainingError
from astroclf.evaluation.forward import evaluate
from astroclf.run.data import Data
from astroclf.run.parts import Parts, ProcessCache, build_parts
from astroclf.run.speed import images_per_second, training_step
from astroclf.settings.config import Config
from astroclf.settings.verbs.data import CheckConfig
from astroclf.util.atomic import atomic_path
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.version import __version__

IMAGES_SEEN = 16_000  # by each network, with repetition, where `fold_epochs` is auto
LEAST_EPOCHS, MOST_EPOCHS = 4, 40
VIEWS = 8  # of each image that is judged
_OF_THE_MACHINE = ("device", "num_workers")  # settings that change no answer that matters


@dataclass(frozen=True)
class Folds:
    """Samples shared out to folds.

    Attributes
    ----------
    count
        How many folds there are.
    of_row
        (N,) the fold that judges each sample, from 0.
    judged
        (N,) bool: not where no sample of the class is in another fold, so that no network could learn it.
    apart
        (C,) how many independent samples each class has: copies and neighbours on the sky count once.
    """

    count: int
    of_row: np.ndarray
    judged: np.ndarray
    apart: np.ndarray

    def rows(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows that the network of a fold is trained on, and those that it judges."""
        return np.flatnonzero(self.of_row != number), np.flatnonzero(self.of_row == number)


def divide(catalog: Catalog, digests: np.ndarray, links: Links, folds: int, seed: int) -> Folds:
    """Divide samples into folds, each class evenly, what is linked in one fold; splits that they have are ignored.

    Parameters
    ----------
    catalog, digests
        Of an `ImageCache`.
    links
        See `find_links`.
    """
    catalog = replace(catalog, split=None)
    groups, _ = group_rows(catalog, links)
    fold = assign_folds(catalog, groups, digests, folds, seed)
    held_FC = np.stack([catalog.class_counts(np.flatnonzero(fold == number)) for number in range(folds)])
    elsewhere_N = (held_FC.sum(axis=0) - held_FC)[fold, catalog.labels]
    pairs = np.unique(np.stack([groups, catalog.labels]), axis=1)
    return Folds(folds, fold, elsewhere_N > 0, np.bincount(pairs[1], minlength=len(catalog.classes)))


def fold_recipe(config: CheckConfig) -> Config:
    """Return the experiment that each fold is trained by; its epochs are those that the check asks for, or one."""
    recipe = composed_as(Config, "config", ["tracking=none", "head.uncertainty=false"])
    epochs = config.fold_epochs if isinstance(config.fold_epochs, int) else 1
    side = min(config.fold_image_size, config.dataset.image_size)
    return replace(
        recipe,
        dataset=config.dataset,
        augment=replace(recipe.augment, output_size=side),
        trainer=replace(
            recipe.trainer, device=config.trainer.device, num_workers=config.trainer.num_workers, epochs=epochs
        ),
    )


def epochs_for(samples: int) -> int:
    """Return how many epochs suit a training on so many samples: few samples are gone through often."""
    return min(MOST_EPOCHS, max(LEAST_EPOCHS, math.ceil(IMAGES_SEEN / max(samples, 1))))


def out_of_fold(config: CheckConfig, cache: ImageCache, folds: Folds) -> np.ndarray:
    """Train a network for each fold, and return what it says of the samples there, which it has not seen.

    Nothing is recorded or registered. The answers of finished folds are kept beside the decoded images, in a folder
    that images, labels, folds and recipe decide: the same check begun again goes on with the next fold.

    Returns
    -------
    (N, C) float
        NaN for samples that cannot be judged.

    Raises
    ------
    Interrupted
        Ctrl-C or SIGTERM came.
    TrainingError
        A training diverged.
    """
    recipe = fold_recipe(config)
    if config.fold_epochs == "auto":
        smallest = min(len(folds.rows(number)[0]) for number in range(folds.count))
        recipe = replace(recipe, trainer=replace(recipe.trainer, epochs=epochs_for(smallest)))
    place = cache.path / _folder_name(recipe, cache, folds)
    answers = {number: place / f"{number + 1}-of-{folds.count}.npy" for number in range(folds.count)}
    missing = [number for number, path in answers.items() if not path.is_file()]
    if missing:
        _train_folds(recipe, cache, folds, answers, missing)
    probabilities_NC = np.full((len(cache.catalog), len(cache.catalog.classes)), np.nan, np.float32)
    for number, path in answers.items():
        probabilities_NC[folds.rows(number)[1]] = np.load(path)
    probabilities_NC[~folds.judged] = np.nan
    return probabilities_NC


def _train_folds(
    recipe: Config, cache: ImageCache, folds: Folds, answers: Mapping[int, Path], missing: Sequence[int]
) -> None:
    """Train the folds whose answers are missing, and keep the answers of each as soon as it is done."""
    shared = ProcessCache()  # the pixels are loaded once
    images = {number: _images_seen(recipe, len(folds.rows(number)[0])) for number in answers}
    done, total = sum(images[number] for number in answers if number not in missing), sum(images.values())
    kept = len(answers) - len(missing)
    try:
        with terminable():
            speed = images_per_second(_parts(recipe, cache, folds, missing[0], shared))
            log.info(
                "Training %d networks%s at %d px, each for %d epochs on about %s images: about %s here",
                folds.count, f" ({kept} of them are trained already)" if kept else "", recipe.augment.output_size,
                recipe.trainer.epochs, f"{len(folds.rows(missing[0])[0]):,}", _minutes((total - done) / speed),
            )  # fmt: skip
            with ProgressBar(f"Training {folds.count} networks", total, done=done) as bar:
                for number in missing:
                    said = _judge(_parts(recipe, cache, folds, number, shared), bar.advance)
                    with atomic_path(answers[number]) as temporary:
                        np.save(temporary, said)
                    kept += 1
    except KeyboardInterrupt as stop:
        number = signal_of(stop)
        raise Interrupted(
            f"Stopped by {number.name}. {kept} of {folds.count} folds are trained and kept: the same command goes on "
            "with the next.",
            128 + number,
        ) from None


def _parts(recipe: Config, cache: ImageCache, folds: Folds, number: int, shared: ProcessCache) -> Parts:
    """Build the network of a fold, with the rows that it is trained on as ``train`` and those it judges as ``test``."""
    trained, judged = folds.rows(number)
    splits = Splits(trained, np.empty(0, np.int64), judged, {})  # no fingerprints: nothing is recorded
    shared.take(recipe.dataset, Data(cache, splits))
    return build_parts(replace(recipe, seed=recipe.seed + number), shared)


def _images_seen(recipe: Config, samples: int) -> int:
    """Count the images that a network is trained on, with repetition, without last batches that are not full."""
    batch = recipe.trainer.images_per_batch
    return recipe.trainer.epochs * (samples - samples % batch if samples > batch else samples)


def _judge(parts: Parts, advance: Callable[[int], None]) -> np.ndarray:
    """Train a network from its first step to its last, and return what it says of ``test``, (n, C)."""
    settings, loader = parts.config.trainer, parts.loaders["train"]
    step = training_step(parts)
    scheduler, total = parts.config.scheduler, planned_steps(settings, len(loader))
    schedule = build(scheduler, peak_lr=parts.config.optimizer.lr, total_steps=total)
    batches = chain.from_iterable(loader.epoch(epoch) for epoch in range(settings.epochs))
    for number, batch in enumerate(batches):
        schedule.apply(step.optimizer_step.optimizer, number)
        step.take([batch])
        advance(len(batch.labels_B))
    said = evaluate(
        parts.network, parts.criterion, parts.loaders["test"], parts.precision, parts.data.classes, tta_views=VIEWS
    ).probabilities
    if not np.isfinite(said).all():
        raise TrainingError(
            "A network of check folds= does not give finite answers after its training: `astroclf check` without "
            "folds= looks at the images, and trainer.device=cpu tells whether the device is the cause."
        )
    return said


def _folder_name(recipe: Config, cache: ImageCache, folds: Folds) -> str:
    """Return the folder of these answers: other images, labels, folds or settings have another one."""
    settings = recipe.to_plain()
    settings["trainer"] = {key: value for key, value in settings["trainer"].items() if key not in _OF_THE_MACHINE}
    del settings["dataset"]  # the cache and the folds say what comes of it
    facts = json.dumps([__version__, VIEWS, cache.fingerprint, cache.catalog.classes, settings], sort_keys=True)
    content = hashlib.sha256(facts.encode())
    for values in (cache.catalog.labels, folds.of_row):
        content.update(np.ascontiguousarray(values, np.int64).tobytes())
    content.update("\n".join(cache.digests).encode())
    return f"folds-{content.hexdigest()[:16]}"


def _minutes(seconds: float) -> str:
    return "a minute" if seconds < 90 else f"{round(seconds / 60):,} minutes"
