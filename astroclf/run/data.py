"""The configured data set, decoded and split: what every front door that looks at images begins with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from astroclf.config.build import build
from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.catalog import Catalog, DatasetReader
from astroclf.data.readers.accounts import account
from astroclf.data.split.assign import Splits, split_fingerprint, take_evenly
from astroclf.data.split.splits import SplitResult, split_for_pretraining, split_image_cache
from astroclf.errors import ConfigError
from astroclf.settings.config import Config, PretrainConfig
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.training import LossSettings
from astroclf.util.logs import log


@dataclass(frozen=True)
class Data:
    """A data set, decoded and split.

    Attributes
    ----------
    whole
        The splits of which `splits` has a part, where validation and test were shortened; else None.
    groups
        (N,) int64: rows with the same number, as copies and neighbours on the sky, are in one split. None where the
        splits were drawn otherwise.
    """

    cache: ImageCache
    splits: Splits
    whole: Splits | None = None
    groups: np.ndarray | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, in label order."""
        return self.cache.catalog.classes

    @property
    def fingerprints(self) -> dict[str, str]:
        """The fingerprints of the decoded data set and of each split, by the names that records give them."""
        splits = {f"{name}_fingerprint": value for name, value in self.splits.fingerprints.items()}
        return {"data_fingerprint": self.cache.fingerprint, **splits}

    @property
    def caveat(self) -> str:
        """What stands beside every figure of a shortened test; empty where the test is whole."""
        if self.whole is None:
            return ""
        return f"tested on {len(self.splits.test):,} of {len(self.whole.test):,} images: not a result"

    def shortened(self, images: int) -> Data:
        """Return the data set with at most so many images each in validation and test, spread over the classes.

        The fingerprints are those of the shortened splits: nothing passes for a result of the whole ones.
        """
        parts = {
            name: take_evenly(self.cache.catalog.labels, getattr(self.splits, name), images) for name in ("val", "test")
        }
        labels, digests = self.cache.catalog.labels, self.cache.digests
        prints = {name: split_fingerprint(labels[rows], digests[rows]) for name, rows in parts.items()}
        return replace(
            self,
            splits=replace(self.splits, **parts, fingerprints={**self.splits.fingerprints, **prints}),
            whole=self.splits,
        )


def load_data(config: Config, once_listed: Callable[[], None] | None = None) -> Data:
    """List, decode (once) and split the configured data set; needs no torch.

    Parameters
    ----------
    once_listed
        Called when the data set is known to be there, and before decoding, which may take hours.
    """

    def is_listed(catalog: Catalog) -> None:
        soft_labels(catalog, config.loss)  # none to be had: said before anything is decoded
        if once_listed is not None:
            once_listed()

    return _decoded(config.dataset, config.trainer.num_workers, is_listed, split_image_cache)


def load_unlabelled(config: PretrainConfig, once_listed: Callable[[], None]) -> Data:
    """List, decode (once) and split images to learn from without labels: `train`, `val` to measure by; needs no torch.

    Where a data set has labels it is split as for a training, so that its test images are left out of both; `use_test`
    takes them in. All labels count: how many of them a training uses is nothing to the images.
    """
    dataset = replace(config.dataset, label_fraction=1.0)
    data = _decoded(dataset, config.trainer.num_workers, lambda _: once_listed(), split_for_pretraining)
    if not config.use_test:
        return data
    train = np.sort(np.concatenate([data.splits.train, data.splits.test]))
    prints = {
        **data.splits.fingerprints,
        "train": split_fingerprint(data.cache.catalog.labels[train], data.cache.digests[train]),
    }
    return replace(data, splits=replace(data.splits, train=train, test=train[:0], fingerprints=prints))


def decoded(reader: DatasetReader, dataset: DatasetSettings, num_workers: int | None) -> ImageCache:
    """Decode what was listed, unless it is decoded already.

    Raises
    ------
    DataError
        Files that cannot be read, where they are not to be left out.
    """
    cache = open_image_cache(
        reader,
        Path(dataset.cache_dir),
        on_error=dataset.on_error,
        compression=dataset.cache_compression,
        num_workers=num_workers,
    )
    log.info("%s", account(reader, len(cache.catalog), (skipped.id for skipped in cache.skipped)))
    return cache


def _decoded(
    dataset: DatasetSettings,
    num_workers: int | None,
    once_listed: Callable[[Catalog], None],
    split: Callable[[ImageCache, DatasetSettings], SplitResult],
) -> Data:
    reader = build(dataset, reading=dataset.reading)
    once_listed(reader.catalog)
    cache = decoded(reader, dataset, num_workers)
    result = split(cache, dataset)
    for remark in result.remarks:
        log.info("%s", remark)
    return Data(replace(cache, catalog=result.catalog), result.splits, groups=result.groups)


def soft_labels(catalog: Catalog, loss: LossSettings) -> np.ndarray | None:
    """Return what a loss is to take beside the labels, (N, C) float32; None: the labels are all.

    Raises
    ------
    ConfigError
        Soft labels are asked for, and the data set has no votes.
    """
    if not loss.soft_labels:
        return None
    if catalog.votes is None:
        raise ConfigError(
            "loss.soft_labels=true trains against fractions of votes, and this data set has none. Name the columns of "
            "its table that hold them, dataset.columns.votes=[smooth,disk], or leave loss.soft_labels out."
        )
    return catalog.votes
