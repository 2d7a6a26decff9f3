"""The configured data set, decoded and split: what every front door that looks at images begins with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from astroclf.config.build import build
from astroclf.data.cache.store import ImageCache, open_store
from astroclf.data.split.assign import Splits
from astroclf.data.split.groups import find_links
from astroclf.data.split.splits import SplitResult, make_splits
from astroclf.errors import DataError
from astroclf.settings.schema import Config
from astroclf.settings.split import SplitSettings

log = logging.getLogger("astroclf")


@dataclass(frozen=True)
class Data:
    """A data set, decoded and split."""

    store: ImageCache
    splits: Splits

    @property
    def classes(self) -> tuple[str, ...]:
        return self.store.table.classes

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of the decoded data set and of each split, by the names that records give them."""
        splits = {f"{name}_fingerprint": value for name, value in self.splits.fingerprints.items()}
        return {"data_fingerprint": self.store.fingerprint, **splits}


def load_data(config: Config) -> Data:
    """List, decode (once) and split the configured data set; needs no torch."""
    options = config.dataset.options
    source = build(config.dataset)
    cache_dir = Path(options["cache_dir"]).expanduser()
    store = open_store(source, cache_dir, on_error=options["on_error"], num_workers=config.trainer.num_workers)
    partition = split_store(store, options)
    for remark in partition.remarks:
        log.info("%s", remark)
    return Data(replace(store, table=partition.table), partition.splits)


def split_store(store: ImageCache, options: Mapping[str, Any]) -> SplitResult:
    """The splits of a decoded data set, as its config's keys have them.

    Raises
    ------
    AstroclfError
        See `make_splits`; or a split is empty.
    """
    settings = SplitSettings.from_config(options)
    links = find_links(store, near=options["near_duplicates"], sky_arcsec=settings.sky_arcsec)
    partition = make_splits(store.table, store.digests, links, settings, {skipped.id for skipped in store.skipped})
    splits = partition.splits
    if len(splits.train) == 0 or len(splits.val) == 0 or len(splits.test) == 0:
        raise DataError(
            f"The data set {options['name']} gives {len(splits.train)} training, {len(splits.val)} validation and "
            f"{len(splits.test)} test images; each needs at least one. Set dataset.val_fraction and "
            "dataset.test_fraction above 0, or add images."
        )
    return partition
