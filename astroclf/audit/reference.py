"""The images that a data set is compared with."""

from __future__ import annotations

import glob
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from astroclf.audit.findings import counted
from astroclf.data.cache.image_cache import ImageCache
from astroclf.errors import ConfigError, DataError
from astroclf.evaluation.image_statistics import measure, spread_evenly
from astroclf.evaluation.shift import FEWEST, Shift, shift_between
from astroclf.inference.inputs import Inputs
from astroclf.inference.preparation import PixelRules, Preparation
from astroclf.inference.samples import prepare_ahead
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.verbs.data import CheckConfig
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.text import nearest_path

if TYPE_CHECKING:
    from astroclf.inference.predictor import Predictor

_AT_ONCE = 64  # images that are decoded together


def check_reference(config: CheckConfig) -> None:
    """Refuse a ``reference=`` that names nothing, before anything is decoded.

    Raises
    ------
    ConfigError
        There is no such file or folder.
    """
    named = config.reference
    if named is None or Path(named).expanduser().exists() or glob.has_magic(named):
        return
    close = nearest_path(Path(named))
    raise ConfigError(
        f"reference={named} names no images. "
        + (f"Did you mean {close}?" if close else "Give a folder, a table or a file of arrays.")
    )


def compare(config: CheckConfig, cache: ImageCache, predictor: Predictor | None) -> Shift | None:
    """Compare the images of a data set with those of ``reference=``; None where either are too few.

    Parameters
    ----------
    predictor
        That of ``model=``, by whose embedding they are compared, too.

    Raises
    ------
    AstroclfError
        The reference cannot be read.
    """
    assert config.reference is not None
    here_NHWC = np.asarray(cache.images[spread_evenly(len(cache.images))])
    there_NHWC = _read(config.reference, _as_data_set(config.dataset, cache), config.trainer.num_workers)
    log.info("Comparing with %d images of %s", len(there_NHWC), config.reference)
    embeddings = None if predictor is None else (predictor.embed(here_NHWC), predictor.embed(there_NHWC))
    other = Path(config.reference).name if Path(config.reference).exists() else config.reference
    shift = shift_between(measure(here_NHWC), measure(there_NHWC), other, embeddings)
    if shift is None:
        log.warning(
            "reference=%s: %d images beside %d are too few to compare: at least %d of either are needed.",
            config.reference, len(there_NHWC), len(here_NHWC), FEWEST,
        )  # fmt: skip
    return shift


def _as_data_set(dataset: DatasetSettings, cache: ImageCache) -> Preparation:
    """Return the way from files to pixels of a data set, for files that are none of its own."""
    return Preparation(PixelRules(dataset.image_size, dataset.channels, dataset.reading.to_plain(), cache.tones))


def _read(words: str, preparation: Preparation, num_workers: int | None) -> np.ndarray:
    """Read the images that a path names, evenly spread over them, (N, S, S, C) uint8; what is no image is left out.

    Raises
    ------
    DataError
        None can be read.
    """
    inputs = Inputs([words], preparation.reading, preparation.channels)
    places = set(spread_evenly(inputs.survey().count).tolist())
    samples = (sample for place, sample in enumerate(inputs.samples()) if place in places)
    parts, errors = [], list[str]()
    blocks = prepare_ahead(preparation, samples, _AT_ONCE, num_workers)
    with ProgressBar("Reading the reference", len(places)) as bar, closing(blocks):
        for block in blocks:
            parts.append(block.images_NHWC)
            errors += block.errors.values()
            bar.advance(len(block.samples))
    if sum(map(len, parts)) == 0:
        why = f"the first: {errors[0]}" if errors else "there is none"
        raise DataError(f"reference={words} holds no image that can be read as those of the data set; {why}")
    if errors:
        log.warning("reference=%s: %s left out; the first: %s", words, counted(len(errors), "image"), errors[0])
    return np.concatenate(parts)
