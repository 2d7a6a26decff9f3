"""From a decoded data set and its settings to the rows that are trained on, validated on and tested on.

Links between samples (copies, neighbours on the sky) become groups that never straddle splits; copies whose labels
contradict each other are settled; what the data set itself says of splits is honoured and checked.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import SPLITS, Catalog
from astroclf.data.split.assign import Splits, content_draws, split_fingerprint, split_rows
from astroclf.data.split.groups import Links, connected, find_links
from astroclf.data.split.split_file import read_split_file
from astroclf.errors import ConfigError, DataError
from astroclf.settings.split import SplitSettings


@dataclass(frozen=True)
class SplitResult:
    """A data set, divided.

    Attributes
    ----------
    catalog
        The samples, with labels as the policy for contradicting copies left them.
    splits
        Rows of each split.
    groups
        (N,) int64: rows with the same number are in one split.
    contradicting
        (N,) bool: rows with a copy that has another label.
    remarks
        What is worth a line in the log.
    """

    catalog: Catalog
    splits: Splits
    groups: np.ndarray
    contradicting: np.ndarray
    remarks: tuple[str, ...]


def split_image_cache(cache: ImageCache, options: Mapping[str, Any]) -> SplitResult:
    """Split a decoded data set as the keys of its ``dataset`` config say.

    Raises
    ------
    AstroclfError
        See `make_splits`; or a split is empty.
    """
    settings = SplitSettings.from_config(options)
    links = find_links(cache, near=options["near_duplicates"], sky_arcsec=settings.sky_arcsec)
    result = make_splits(cache.catalog, cache.digests, links, settings, {skipped.id for skipped in cache.skipped})
    sizes = {name: len(getattr(result.splits, name)) for name in SPLITS}
    if not all(sizes.values()):
        raise DataError(
            f"The data set {options['name']} gives {sizes['train']} training, {sizes['val']} validation and "
            f"{sizes['test']} test images; each needs at least one. Set dataset.val_fraction and "
            "dataset.test_fraction above 0, or add images."
        )
    return result


def make_splits(
    catalog: Catalog,
    digests: np.ndarray,
    links: Links,
    settings: SplitSettings,
    unreadable: Collection[str] = (),
) -> SplitResult:
    """Divide a data set.

    Parameters
    ----------
    catalog, digests
        Of an `ImageCache`.
    links
        See `find_links`.
    settings
        See `SplitSettings`.
    unreadable
        Ids of samples that the catalog lacks because their images cannot be read; a split file may name them.

    Raises
    ------
    DataError
        Too few samples, given splits that contradict each other, or a split file that does not fit the data set.
    ConfigError
        Settings that the data set contradicts.
    """
    if settings.split_file is not None:
        catalog = replace(catalog, split=read_split_file(Path(settings.split_file), catalog, unreadable))
    if settings.fold is not None and catalog.split is not None and (catalog.split != "").any():
        raise ConfigError(
            f"dataset.fold={settings.fold} cannot be used: the data set gives its samples splits of its own. Leave out "
            "the fold, or take the column split out of metadata.csv."
        )
    labels, contradicting, usable = resolve_label_conflicts(
        catalog.labels, links.copies(len(catalog)), settings.label_conflicts
    )
    catalog = replace(catalog, labels=labels)
    groups, loosened = group_rows(catalog, links)
    kept = np.flatnonzero(usable)
    part, keys = catalog.take(kept), np.asarray(digests)[kept]
    inside = _split(part, groups[kept], keys, settings)
    if settings.label_fraction < 1:
        train = fewer_labels(part, keys, inside.train, settings.label_fraction, settings.split_seed)
        prints = {**inside.fingerprints, "train": split_fingerprint(part.labels[train], keys[train])}
        inside = replace(inside, train=train, fingerprints=prints)
    splits = replace(inside, **{name: kept[getattr(inside, name)] for name in SPLITS})
    remarks = _remarks(links, contradicting, usable, loosened, groups, splits, settings)
    return SplitResult(catalog, splits, groups, contradicting, remarks)


def group_rows(catalog: Catalog, links: Links) -> tuple[np.ndarray, int]:
    """Which rows must stay in one split, (N,) int64, and how many groups had to be divided.

    Links and the data set's own groups add up. Where the data set gives two splits to rows that only resemble each
    other or are neighbours, what it gives counts. Rows without a split that are linked to several given ones stay
    together, and go with the first of these in the order of `SPLITS`.
    """
    count = len(catalog)
    own, alike = _pairs_of(catalog.group), np.concatenate([links.near.rows, links.sky.rows])
    groups = connected(count, links.exact.rows, own, alike)
    if catalog.split is None:
        return groups, 0
    strict = connected(count, links.exact.rows, own)
    free = len(SPLITS)
    given = np.select([np.asarray(catalog.split) == name for name in SPLITS], range(free), default=free)
    side = _least(given, strict)
    parts = connected(count, links.exact.rows, own, alike[side[alike[:, 0]] == side[alike[:, 1]]])
    beside = np.full(count, free)
    for end, other in ((0, 1), (1, 0)):
        np.minimum.at(beside, alike[:, end], side[alike[:, other]])
    side = np.where(side == free, _least(beside, parts), side)
    parts = connected(count, links.exact.rows, own, alike[side[alike[:, 0]] == side[alike[:, 1]]])
    parts_of_group = np.bincount(np.unique(np.stack([groups, parts]), axis=1)[0])
    return parts, int(np.count_nonzero(parts_of_group > 1))


def _least(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """(N,) of each row, the smallest of the values in its group."""
    least = np.full(len(values), values.max(initial=0))
    np.minimum.at(least, groups, values)
    return least[groups]


def _pairs_of(names: np.ndarray | None) -> np.ndarray:
    """(m, 2): each row of a named group with the group's first."""
    if names is None:
        return np.empty((0, 2), np.int64)
    rows = np.flatnonzero(np.asarray(names) != "")
    _, first, inverse = np.unique(np.asarray(names)[rows], return_index=True, return_inverse=True)
    return np.stack([rows[first[inverse]], rows], axis=1).astype(np.int64)


def resolve_label_conflicts(
    labels: np.ndarray, copies: np.ndarray, policy: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What becomes of copies whose labels differ.

    Parameters
    ----------
    labels
        (N,) int64.
    copies
        (N,) rows with the same number show the same picture.
    policy
        ``keep``: as they are; ``drop``: left out of every split; ``majority``: all get the label that most of them
        have, and are left out where there is none.

    Returns
    -------
    labels : (N,) int64
    contradicting : (N,) bool
        Rows with a copy that has another label.
    usable : (N,) bool
        Rows that may be used.
    """
    count = len(labels)
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, copies, labels)
    np.maximum.at(high, copies, labels)
    contradicting = (low != high)[copies]
    settled, usable = labels.copy(), np.ones(count, bool)
    if policy == "keep":
        return settled, contradicting, usable
    usable[contradicting] = False
    if policy == "majority":
        for group in np.unique(copies[contradicting]):
            rows = np.flatnonzero(copies == group)
            votes = np.bincount(labels[rows])
            if np.count_nonzero(votes == votes.max()) == 1:
                settled[rows], usable[rows] = votes.argmax(), True
    return settled, contradicting, usable


def _split(catalog: Catalog, groups: np.ndarray, digests: np.ndarray, settings: SplitSettings) -> Splits:
    fold = settings.fold_of()
    if fold is None:
        return split_rows(
            catalog, groups, digests, val=settings.val_fraction, test=settings.test_fraction, seed=settings.split_seed
        )
    which, count = fold
    test = folds_of(catalog, groups, digests, count, settings.split_seed) == which - 1
    rest = np.flatnonzero(~test)
    inside = split_rows(
        catalog.take(rest), groups[rest], digests[rest], val=settings.val_fraction, test=0.0, seed=settings.split_seed
    )
    rows = np.flatnonzero(test)
    prints = {**inside.fingerprints, "test": split_fingerprint(catalog.labels[rows], digests[rows])}
    return Splits(rest[inside.train], rest[inside.val], rows, prints)


def folds_of(catalog: Catalog, groups: np.ndarray, digests: np.ndarray, count: int, seed: int) -> np.ndarray:
    """(N,) int64, the fold of each row, from 0: each class shared out as evenly as the groups allow.

    Raises
    ------
    DataError
        A class with fewer independent samples than folds.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    for label, name in enumerate(catalog.classes):
        apart = len(np.unique(group[catalog.labels == label]))
        if apart < count:
            raise DataError(
                f"The class `{name}` has {apart} independent samples, too few for {count} folds. Take fewer folds "
                f"(dataset.fold), add samples, or leave it out with dataset.exclude_classes=['{name}']."
            )
    draws = content_draws(catalog.labels, digests, group, len(sizes), seed)
    held = np.zeros((count, len(catalog.classes)))
    fold = np.empty(len(catalog), np.int64)
    members = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    for number in np.lexsort((draws, -sizes)):  # the large groups first; single samples then fill the rest evenly
        rows = members[number]
        counts = np.bincount(catalog.labels[rows], minlength=len(catalog.classes))
        fullness = held[:, counts > 0].sum(axis=1)
        emptiest = np.lexsort((held.sum(axis=1), fullness))[0]
        held[emptiest] += counts
        fold[rows] = emptiest
    return fold


def fewer_labels(catalog: Catalog, digests: np.ndarray, train: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Of the training rows a share of each class, at least one; a smaller share is part of a larger one."""
    rows = np.arange(len(train))
    draws = content_draws(catalog.labels[train], digests[train], rows, len(rows), seed)
    chosen = []
    for label in range(len(catalog.classes)):
        mine = np.flatnonzero(catalog.labels[train] == label)
        wanted = int(np.ceil(fraction * len(mine) - 1e-9))
        chosen.append(mine[np.argsort(draws[mine], kind="stable")][:wanted])
    return np.sort(train[np.concatenate(chosen)])


def _remarks(
    links: Links,
    contradicting: np.ndarray,
    usable: np.ndarray,
    loosened: int,
    groups: np.ndarray,
    splits: Splits,
    settings: SplitSettings,
) -> tuple[str, ...]:
    remarks = []
    counts = {"exact copies": links.exact, "near copies": links.near, "neighbours on the sky": links.sky}
    found = [f"{len(pairs.rows)} {name}" for name, pairs in counts.items() if len(pairs.rows)]
    if found:
        text = f"Kept together in one split: pairs of {', '.join(found)}"
        if contradicting.any():
            text += f"; {np.count_nonzero(contradicting)} samples have a copy with another label"
            text += f" (dataset.label_conflicts={settings.label_conflicts}: {np.count_nonzero(~usable)} left out)"
        remarks.append(f"{text}.")
    if loosened:
        remarks.append(
            f"{loosened} group(s) of near copies or neighbours on the sky are divided by the splits that the data set "
            "gives: these were kept. `python -m astroclf.check` lists them."
        )
    largest = int(np.bincount(groups).max(initial=0))
    if largest > max(len(splits.test), 10):
        remarks.append(
            f"{largest} samples are linked into one group, more than the test split holds: dataset.sky_arcsec may be "
            "wide enough to join a whole field, or the near copies are a sequence of frames."
        )
    return tuple(remarks)
