"""The images that a model is evaluated on: prepared as its own were, and none that it has seen in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from astroclf.config.build import build
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import SPLITS, DatasetReader, TakesTones
from astroclf.data.decode.tone import kinds_in_words, tones_from_plain
from astroclf.data.decode.values import EIGHT_BIT
from astroclf.data.split.assign import Splits, split_fingerprint
from astroclf.data.split.splits import split_image_cache
from astroclf.errors import ConfigError, DataError
from astroclf.inference.predictor import Predictor
from astroclf.settings.base import ABSENT, READING, Settings
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.reading import ReadSettings
from astroclf.util.logs import log

SplitChoice = Literal["auto", "all", "train", "val", "test"]

# Keys that say where the numbers of a file are, and not what becomes of them: another data set's may lie elsewhere.
_OF_THE_FILES = ("pixel_scale", "planes", "fits")


@dataclass(frozen=True)
class Chosen:
    """The rows of a data set that a model is evaluated on.

    Attributes
    ----------
    rows
        (K,) int64, of the image cache's catalog.
    said
        Why these, in a sentence.
    unsound
        What makes their figures better than the model is; empty where nothing is known to.
    fingerprint
        Of their content and labels: equal for equal tests.
    """

    rows: np.ndarray
    said: str
    unsound: str
    fingerprint: str


def reader_for(model: Predictor, dataset: DatasetSettings) -> DatasetReader:
    """List a data set, to be decoded as the model's own was: size, channels, cut-out, rules for numbers to grey.

    Raises
    ------
    ConfigError
        The data set's reader cannot prepare its images so, or has pictures alone, of which the model knows nothing.
    DataError
        There is no such data set; or as the reader.
    """
    settings, changed = _as_the_model(model, dataset)
    if changed:
        log.info("Images are prepared as the model's were: %s.", ", ".join(changed))
    reader: DatasetReader = build(settings, reading=settings.reading)
    if isinstance(reader, TakesTones):
        reader.take_tones(tones_from_plain(model.spec.tones))
    elif EIGHT_BIT not in model.preparation.kinds:
        raise ConfigError(
            f"The model learned from {kinds_in_words(model.preparation.kinds)}, and dataset={dataset.name} holds "
            "8-bit pictures: it has no rule by which these become what it knows."
        )
    return reader


def _as_the_model(model: Predictor, dataset: DatasetSettings) -> tuple[DatasetSettings, list[str]]:
    """Return the settings of a data set with what the model prescribes, and what of them that changes, in words."""
    spec = model.spec
    reading = ReadSettings.from_plain(spec.reading)
    known = {name for name in DatasetSettings.marked(READING) if getattr(dataset, name) is not ABSENT}
    if reading.crop is not None and "crop" not in known:
        raise ConfigError(
            f"The model learned from centre cut-outs of {reading.crop}, and dataset={dataset.name} cannot be cut: take "
            "a data set of files (dataset=folder) or arrays (dataset=arrays)."
        )
    defaults = ReadSettings.with_defaults()
    wanted: dict[str, Any] = {"image_size": spec.image_size, "channels": spec.channels}
    for name in sorted(known):
        ours, theirs = getattr(dataset, name), getattr(reading, name)
        wanted[name] = theirs if name not in _OF_THE_FILES or ours == getattr(defaults, name) else ours
    changed = [f"dataset.{name}={_shown(value)}" for name, value in wanted.items() if value != getattr(dataset, name)]
    return replace(dataset, **wanted), changed


def _shown(value: Any) -> str:
    if isinstance(value, Settings):
        return "{" + ", ".join(f"{name}: {part}" for name, part in value.to_plain().items()) + "}"
    return str(value)


def choose_rows(
    cache: ImageCache,
    dataset: DatasetSettings,
    models: Sequence[Predictor],
    split: SplitChoice,
    left_out: Sequence[str] = (),
) -> tuple[ImageCache, Chosen]:
    """Choose the rows to evaluate on, and return them with the image cache (whose labels the splits may have mended).

    ``auto`` takes the test split where the data set is divided as for the training of the first model, and otherwise
    every image that none of the models has seen. The other choices take what they say.

    Parameters
    ----------
    left_out
        Classes of the data set that the models are not asked about.

    Raises
    ------
    DataError
        No image is left, or the data set cannot be split as was asked.
    """
    divided, why_not = _divided(cache, dataset)
    cache, splits = divided or (cache, None)
    if split in SPLITS and splits is None:
        raise DataError(f"split={split} cannot be had: {why_not}")
    everything, is_own = np.arange(len(cache.catalog)), splits is not None and _is_own(models[0], splits)
    seen = _seen(cache, models)
    if split == "all" or splits is None or (split == "auto" and not is_own):
        rows, said = everything, "all images of the data set"
    elif split == "auto":
        rows, said = splits.test, "the test split of the data set that the model was trained on"
    else:
        rows, said = getattr(splits, split), f"the {split} split of the data set"
    if split == "auto":
        known = _seen(cache, models[1:]) if is_own else seen  # its own test split stays what it was
        fresh = rows[known[rows] == ""]
        if len(fresh) < len(rows):
            said += f" but {len(rows) - len(fresh):,} that a model has seen in training"
        rows = fresh
    if not len(rows):
        raise DataError(
            f"A model has seen every one of the {len(cache.catalog):,} images in training: there is nothing to "
            "evaluate on. Other images show how good it is; split=all looks at these all the same."
        )
    labels = cache.catalog.labels[rows]
    kept = ~np.isin(labels, [cache.catalog.classes.index(name) for name in left_out])
    if not kept.any():
        raise DataError("class_map leaves out the classes of all the images: none is left to evaluate on.")
    if not kept.all():
        names = ", ".join(name for name in left_out if cache.catalog.classes.index(name) in labels)
        said += f", without {(~kept).sum():,} of classes that class_map leaves out ({names})"
        rows, labels = rows[kept], labels[kept]
    unsound = _unsound(models, seen[rows]) or ("" if is_own else _perhaps_unsound(cache, models))
    if not is_own and not unsound and any(model.seen is None for model in models):
        said += "; whether a model has seen some of them is not known, for its package does not say"
    return cache, Chosen(rows, said, unsound, split_fingerprint(labels, cache.digests[rows]))


def validation_rows(cache: ImageCache, models: Sequence[Predictor]) -> tuple[np.ndarray, str]:
    """Choose the images that models were validated on, and none of them trained on; where there are none, say why.

    Returns
    -------
    rows : (K,) int
    why_not : str
        Empty where there are such images.
    """
    if any(model.seen is None for model in models):
        return np.zeros(0, np.int64), "the package of a model does not say on which images it was trained."
    rows = np.flatnonzero(_seen(cache, models) == "val")
    return rows, "" if len(rows) else "the data set has no image that one was validated and none was trained on."


def _divided(cache: ImageCache, dataset: DatasetSettings) -> tuple[tuple[ImageCache, Splits] | None, str]:
    """Divide the data set as a training would; None, and why, where that cannot be done."""
    try:
        result = split_image_cache(cache, dataset)
    except (ConfigError, DataError) as error:
        return None, str(error)
    return (replace(cache, catalog=result.catalog), result.splits), ""


def _is_own(model: Predictor, splits: Splits) -> bool:
    """Return whether these are the splits that the model was trained, validated and tested on."""
    facts = model.spec.facts
    return all(facts.get(f"{name}_fingerprint") == splits.fingerprints[name] for name in SPLITS)


def _seen(cache: ImageCache, models: Sequence[Predictor]) -> np.ndarray:
    """Name the split of its training in which a model has seen each image, (N,) str."""
    names = np.full(len(cache.catalog), "", dtype="<U5")
    for model in models:
        if model.seen is not None:
            among = model.seen.among(cache.pixel_digests)
            names = np.where((among == "train") | (names == ""), among, names)
    return names


def _unsound(models: Sequence[Predictor], seen: np.ndarray) -> str:
    """Say how many of the images a model has seen; empty where it has seen none."""
    whose = "The model was" if len(models) == 1 else "One of the models was"
    trained, validated = int((seen == "train").sum()), int((seen == "val").sum())
    if not trained + validated:
        return ""
    what = [f"trained on {trained:,}"] * bool(trained) + [f"validated on {validated:,}"] * bool(validated)
    return (
        f"{whose} {' and '.join(what)} of these {len(seen):,} images: on others it is less good than the figures say."
    )


def _perhaps_unsound(cache: ImageCache, models: Sequence[Predictor]) -> str:
    """Say that a model, whose package does not list what it has seen, was trained on this data set."""
    if all(model.seen is not None or model.spec.facts.get("data_fingerprint") != cache.fingerprint for model in models):
        return ""
    return (
        "A model was trained on this data set, divided in another way, and its package does not say on which of the "
        "images: most of them are no fair test of it. Divide the data set as for its training, with the same "
        "dataset.split_seed, dataset.test_fraction, … (its config.yaml has them)."
    )
