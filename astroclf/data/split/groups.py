"""Groups of samples that must not lie on both sides of a split, and copies whose labels contradict each other."""

from __future__ import annotations

import numpy as np

from astroclf.data.catalog import SPLITS, Catalog
from astroclf.data.split.links import Links, connected
from astroclf.settings.dataset import LabelConflicts


def group_rows(catalog: Catalog, links: Links, cells: np.ndarray | None = None) -> tuple[np.ndarray, int]:
    """Give rows that must stay in one split the same number, (N,) int64, and count the groups that were divided.

    Links, the data set's own groups and cells of the sky, (N,), add up. Where the data set gives two splits to rows
    that only resemble each other or are neighbours, what it gives counts. Rows without a split that are linked to
    several given ones stay together, and go with the first of these in the order of `SPLITS`.
    """
    count = len(catalog)
    own = _pairs_of(catalog.group)
    if cells is not None:
        own = np.concatenate([own, _pairs_of(cells.astype(str))])
    alike = np.concatenate([links.near.rows, links.sky.rows, links.bands.rows])
    groups = connected(count, links.exact.rows, own, alike)
    if catalog.split is None:
        return groups, 0
    strict = connected(count, links.exact.rows, own)
    undecided = len(SPLITS)
    given = np.select([np.asarray(catalog.split) == name for name in SPLITS], range(undecided), default=undecided)
    side = _least(given, strict)
    parts = connected(count, links.exact.rows, own, alike[side[alike[:, 0]] == side[alike[:, 1]]])
    beside = np.full(count, undecided)
    for end, other in ((0, 1), (1, 0)):
        np.minimum.at(beside, alike[:, end], side[alike[:, other]])
    side = np.where(side == undecided, _least(beside, parts), side)
    parts = connected(count, links.exact.rows, own, alike[side[alike[:, 0]] == side[alike[:, 1]]])
    parts_of_group = np.bincount(np.unique(np.stack([groups, parts]), axis=1)[0])
    return parts, int(np.count_nonzero(parts_of_group > 1))


def _least(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Give each row the smallest of the values in its group, (N,)."""
    least = np.full(len(values), values.max(initial=0))
    np.minimum.at(least, groups, values)
    return least[groups]


def _pairs_of(names: np.ndarray | None) -> np.ndarray:
    """Link each row of a named group with the group's first, (m, 2)."""
    if names is None:
        return np.empty((0, 2), np.int64)
    rows = np.flatnonzero(np.asarray(names) != "")
    _, first, inverse = np.unique(np.asarray(names)[rows], return_index=True, return_inverse=True)
    return np.stack([rows[first[inverse]], rows], axis=1).astype(np.int64)


def resolve_label_conflicts(
    labels: np.ndarray, copies: np.ndarray, policy: LabelConflicts
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Decide what becomes of copies whose labels differ.

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
    conflicting : (N,) bool
        Rows with a copy that has another label.
    usable : (N,) bool
        Rows that may be used.
    """
    count = len(labels)
    low, high = np.full(count, np.iinfo(np.int64).max), np.full(count, -1)
    np.minimum.at(low, copies, labels)
    np.maximum.at(high, copies, labels)
    conflicting = (low != high)[copies]
    resolved, usable = labels.copy(), np.ones(count, bool)
    if policy == "keep":
        return resolved, conflicting, usable
    usable[conflicting] = False
    if policy == "majority" and conflicting.any():
        in_conflict = np.flatnonzero(conflicting)
        in_conflict = in_conflict[np.argsort(copies[in_conflict], kind="stable")]
        for rows in np.split(in_conflict, np.flatnonzero(np.diff(copies[in_conflict])) + 1):
            votes = np.bincount(labels[rows])
            if np.count_nonzero(votes == votes.max()) == 1:
                resolved[rows], usable[rows] = votes.argmax(), True
    return resolved, conflicting, usable
