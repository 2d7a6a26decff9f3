"""Train, validation and test rows: grouped, stratified, seeded, and recognisable by a fingerprint.

Everything random is a function of the seed and of the samples' content (digest of the source, and label), so that
neither the order of the rows nor what images are prepared to changes a split.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np

from astroclf.data.catalog import SPLITS, Catalog
from astroclf.errors import DataError

TRAIN, VAL, TEST = range(len(SPLITS))


@dataclass(frozen=True)
class Splits:
    """The rows of each split, sorted (int64), and a short fingerprint of each one's content."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    fingerprints: dict[str, str]


def split_rows(
    catalog: Catalog, groups: np.ndarray, digests: np.ndarray, *, val: float, test: float, seed: int
) -> Splits:
    """Divide the rows into three splits, stratified by class as well as the groups allow.

    A class gets ``round(fraction * n)`` rows in `val` and `test`, but at least one. Rows that come with a split keep
    it; the others fill up what is missing. When no row comes with ``val``, validation is cut from the rows given as
    ``train``; and when every row comes with a split, but none with ``test``, so is the test.

    Parameters
    ----------
    catalog
        The samples.
    groups
        (N,) rows with the same number stay together.
    digests
        (N,) content of each sample.
    val, test
        Fractions of the samples, together below 1; 0 leaves that split empty.
    seed
        Another seed gives another split.

    Raises
    ------
    DataError
        A class has too few samples for the splits, or a group is given to two splits.
    """
    given = _given_splits(catalog)
    wanted = _targets(catalog, given, val, test)
    _check_enough(catalog, groups, wanted)
    choice = _Assignment(catalog, groups, wanted, _allowed(catalog, groups, given))
    names, group_of_row, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    draws = content_draws(catalog.labels, digests, group_of_row, len(names), seed)
    members = np.split(np.argsort(group_of_row, kind="stable"), np.cumsum(sizes)[:-1])
    # The large groups first, while there is room everywhere; single samples then fill the rest exactly.
    for group in np.lexsort((draws, -sizes)):
        if sizes[group] > 1 or choice.is_fixed(members[group]):
            choice.place(members[group], draws[group])
    singles = np.array([members[group][0] for group in np.argsort(draws, kind="stable") if sizes[group] == 1], np.int64)
    choice.fill(singles[choice.split[singles] < 0])
    _check_every_class(catalog, choice.split, wanted)
    rows = {name: np.flatnonzero(choice.split == index) for index, name in enumerate(SPLITS)}
    prints = {name: split_fingerprint(catalog.labels[r], np.asarray(digests)[r]) for name, r in rows.items()}
    return Splits(**rows, fingerprints=prints)


def assign_folds(catalog: Catalog, groups: np.ndarray, digests: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Give each row a fold, (N,) int64 from 0: each class shared out as evenly as the groups allow.

    A class with fewer independent samples than folds is not in all of them: see `refuse_few`.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
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


def refuse_few(catalog: Catalog, groups: np.ndarray, folds: int) -> None:
    """Refuse folds of which some would have no sample of a class.

    Raises
    ------
    DataError
        A class with fewer independent samples than folds.
    """
    for label, name in enumerate(catalog.classes):
        apart = len(np.unique(groups[catalog.labels == label]))
        if apart < folds:
            raise DataError(
                f"The class `{name}` has {apart} independent samples, too few for {folds} folds. Take fewer folds "
                f"(dataset.fold), add samples, or leave it out with dataset.exclude_classes=['{name}']."
            )


def take_label_fraction(
    catalog: Catalog, digests: np.ndarray, train: np.ndarray, fraction: float, seed: int
) -> np.ndarray:
    """Take a share of each class of the training rows, at least one; a smaller share is part of a larger one."""
    rows = np.arange(len(train))
    draws = content_draws(catalog.labels[train], digests[train], rows, len(rows), seed)
    chosen = []
    for label in range(len(catalog.classes)):
        mine = np.flatnonzero(catalog.labels[train] == label)
        wanted = int(np.ceil(fraction * len(mine) - 1e-9))
        chosen.append(mine[np.argsort(draws[mine], kind="stable")][:wanted])
    return np.sort(train[np.concatenate(chosen)])


def take_evenly(labels: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """Take at most so many of the rows, sorted: of each class its share, at even distances in the order of the file."""
    if count >= len(rows):
        return rows
    by_class = rows[np.argsort(labels[rows], kind="stable")]
    middles = (np.arange(count) + 0.5) * len(rows) / count
    return np.sort(by_class[middles.astype(np.int64)])


def split_fingerprint(labels: np.ndarray, digests: np.ndarray) -> str:
    """Return 16 hex digits that depend on which images with which labels a split holds, in whatever order."""
    pairs = sorted(f"{digest}:{label}" for digest, label in zip(digests, labels, strict=True))
    return hashlib.sha256("\n".join(pairs).encode()).hexdigest()[:16]


def _given_splits(catalog: Catalog) -> np.ndarray:
    """Return indices into SPLITS, (N,), -1 where the data set leaves it to us."""
    if catalog.split is None:
        return np.full(len(catalog), -1)
    names = np.asarray(catalog.split)
    return np.select([names == name for name in SPLITS], list(range(3)), default=-1)


def _targets(catalog: Catalog, given: np.ndarray, val: float, test: float) -> np.ndarray:
    """Count the rows that each split should have of each class, (3, C); what the data set gives is never cut down."""
    counts = catalog.class_counts()
    targets = np.zeros((3, len(counts)), np.int64)
    for index, fraction in ((VAL, val), (TEST, test)):
        if fraction > 0:
            targets[index] = np.maximum(np.round(fraction * counts), np.minimum(counts, 1))
        targets[index] = np.maximum(targets[index], catalog.class_counts(np.flatnonzero(given == index)))
    targets[TRAIN] = counts - targets[VAL] - targets[TEST]
    larger = np.where(targets[VAL] >= targets[TEST], VAL, TEST)
    for label in np.flatnonzero((targets[TRAIN] < 1) & (targets[larger, np.arange(len(counts))] > 1)):
        targets[larger[label], label] -= 1  # rounding left nothing to train on
        targets[TRAIN, label] += 1
    if not (given < 0).any():
        # Nothing is left to us but to cut from train what is not given: a given split stays as it is.
        for index in (VAL, TEST):
            if (given == index).any():
                targets[index] = catalog.class_counts(np.flatnonzero(given == index))
        targets[TRAIN] = counts - targets[VAL] - targets[TEST]
    return targets


def _allowed(catalog: Catalog, groups: np.ndarray, given: np.ndarray) -> np.ndarray:
    """Mark the splits that each row may go to, (N, 3) bool, the same for all rows of a group."""
    allowed = np.ones((len(catalog), 3), bool)
    fixed = given >= 0
    allowed[fixed] = given[fixed, None] == np.arange(3)
    for index in (VAL, TEST):
        if not (given == index).any() and (index == VAL or fixed.all()):
            allowed[given == TRAIN, index] = True
    in_group = np.ones((groups.max(initial=0) + 1, 3), bool)
    np.logical_and.at(in_group, groups, allowed)
    torn = np.flatnonzero(~in_group.any(axis=1))
    if len(torn):
        rows = [r for r in np.flatnonzero(groups == torn[0]) if fixed[r]]
        other = next(r for r in rows if given[r] != given[rows[0]])
        raise DataError(
            f"`{catalog.ids[rows[0]]}` is given to the split {SPLITS[given[rows[0]]]} and `{catalog.ids[other]}` to "
            f"{SPLITS[given[other]]}, but they are duplicates or of one group, and a model tested on what it was "
            f"trained on looks better than it is ({len(torn)} such group{'s' if len(torn) > 1 else ''}). Give them the "
            "same split, or remove one."
        )
    return in_group[groups]


def content_draws(
    labels: np.ndarray, digests: np.ndarray, group_of_row: np.ndarray, groups: int, seed: int
) -> np.ndarray:
    """Draw a number for each group, (groups,) uniform in [0, 1), from the seed and the content of its rows."""
    content: list[list[str]] = [[] for _ in range(groups)]
    for group, digest, label in zip(group_of_row, digests, labels, strict=True):
        content[group].append(f"{digest}:{label}")
    draws = np.empty(groups)
    for group, parts in enumerate(content):
        digest = hashlib.blake2b("\n".join([str(seed), *sorted(parts)]).encode(), digest_size=8).digest()
        draws[group] = int.from_bytes(digest, "big") / 2**64
    return draws


class _Assignment:
    """Rows being handed out to splits, and what each split still needs of each class."""

    def __init__(self, catalog: Catalog, groups: np.ndarray, targets: np.ndarray, allowed: np.ndarray) -> None:
        self.labels, self.allowed = catalog.labels, allowed
        self.needs = targets.copy()
        self.wants_any = targets > 0
        self.has = np.zeros_like(targets)
        pairs = np.unique(np.stack([groups, catalog.labels]), axis=1)
        self.groups_left = np.bincount(pairs[1], minlength=len(catalog.classes))  # of each class, not yet handed out
        self.split = np.full(len(catalog), -1)

    def is_fixed(self, rows: np.ndarray) -> bool:
        """Tell if only one split may take these rows."""
        return int(self.allowed[rows[0]].sum()) == 1

    def put(self, rows: np.ndarray, split: int) -> None:
        counts = self._counts(rows)
        self.split[rows] = split
        self.needs[split] -= counts
        self.has[split] += counts

    def place(self, rows: np.ndarray, draw: float) -> None:
        """Put a group where it overfills least; among equals, by lot, the likelier the more room there is."""
        counts = self._counts(rows)
        candidates = self._still_without(np.flatnonzero(counts), np.flatnonzero(self.allowed[rows[0]]))
        self.groups_left[counts > 0] -= 1
        overfill = np.maximum(counts - np.maximum(self.needs[candidates], 0), 0).sum(axis=1)
        candidates = candidates[overfill == overfill.min()]
        room = np.maximum(self.needs[candidates][:, counts > 0], 0).sum(axis=1).astype(float)
        shares = np.cumsum(room / room.sum()) if room.sum() > 0 else np.arange(1, len(candidates) + 1) / len(candidates)
        self.put(rows, int(candidates[min(int(np.searchsorted(shares, draw, side="right")), len(candidates) - 1)]))

    def _still_without(self, labels: np.ndarray, candidates: np.ndarray) -> np.ndarray:
        """Keep the candidates that lack a class of which no more groups are left than splits that lack it."""
        for label in labels:
            lacking = self.wants_any[:, label] & (self.has[:, label] == 0)
            if self.groups_left[label] <= lacking.sum() and lacking[candidates].any():
                candidates = candidates[lacking[candidates]]
        return candidates

    def _counts(self, rows: np.ndarray) -> np.ndarray:
        return np.bincount(self.labels[rows], minlength=len(self.groups_left))

    def fill(self, rows: np.ndarray) -> None:
        """Hand out single samples in the order of their lots: to test first, then validation; train takes the rest."""
        for label in range(len(self.groups_left)):
            mine = rows[self.labels[rows] == label]
            # A split that large groups left without this class is served before any other.
            for split in (TEST, VAL, TRAIN):
                if self.wants_any[split, label] and not self.has[split, label]:
                    mine = self._take(mine, split, 1)
            for split in (TEST, VAL):
                mine = self._take(mine, split, max(0, int(self.needs[split, label])))
            for split in (TRAIN, VAL, TEST):
                mine = self._take(mine, split, len(mine))

    def _take(self, rows: np.ndarray, split: int, count: int) -> np.ndarray:
        """Hand up to `count` of the rows that may go there to `split`; return the others."""
        chosen = np.flatnonzero(self.allowed[rows, split])[:count]
        if len(chosen):
            self.put(rows[chosen], split)
        return np.delete(rows, chosen)


def _check_enough(catalog: Catalog, groups: np.ndarray, targets: np.ndarray) -> None:
    splits = int((targets > 0).any(axis=1).sum())
    few = []
    for label, name in enumerate(catalog.classes):
        mine = catalog.labels == label
        apart = len(np.unique(groups[mine]))
        least = splits if catalog.split is None else min(splits, max(1, int((targets[:, label] > 0).sum())))
        if apart < least:
            few.append(f"`{name}` ({np.count_nonzero(mine)} samples, {apart} of them independent)")
    if few:
        names = [part.split("`")[1] for part in few]
        raise DataError(
            f"Too few samples for {splits} splits in the class{'es' if len(few) > 1 else ''} {', '.join(few)}. Add "
            f"samples, or leave {'them' if len(few) > 1 else 'it'} out with dataset.exclude_classes={names}."
        )


def _check_every_class(catalog: Catalog, split: np.ndarray, targets: np.ndarray) -> None:
    for index, split_name in enumerate(SPLITS):
        counts = catalog.class_counts(np.flatnonzero(split == index))
        for name, count, target in zip(catalog.classes, counts, targets[index], strict=True):
            if count == 0 and (target > 0 or index == TRAIN):
                raise DataError(
                    f"The split {split_name} would have no sample of the class `{name}`: its groups are too large or "
                    "too few, or all its samples are given to other splits. Add samples, regroup them, or leave the "
                    f"class out with dataset.exclude_classes=['{name}']."
                )
