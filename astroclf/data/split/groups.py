"""Which samples have so much to do with each other that they must not lie on both sides of a split."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.split.copies import Pairs, exact_duplicates, near_duplicates, no_pairs
from astroclf.data.split.sky import sky_neighbours
from astroclf.errors import AstroclfError
from astroclf.util.atomic import atomic_path

VERSION = 2  # of the algorithms: raise it when the same images would give other links


@dataclass(frozen=True)
class Links:
    """Pairs of samples by what links them; a pair may be in `sky` and in one of the others.

    Attributes
    ----------
    exact
        Equal pixel by pixel, before resizing: each further copy with the first. Score 1.
    near
        Different pixels, the same picture; of exact copies, only the first is compared. Score: similarity.
    sky
        Neighbours on the sky. Score: separation in arcseconds.
    """

    exact: Pairs = field(default_factory=no_pairs)
    near: Pairs = field(default_factory=no_pairs)
    sky: Pairs = field(default_factory=no_pairs)

    def copies(self, n: int) -> np.ndarray:
        """(n,) int64: rows with the same number show the same picture (exact and near duplicates)."""
        return connected(n, self.exact.rows, self.near.rows)


def find_links(cache: ImageCache, *, near: bool, sky_arcsec: float | None, progress: bool = True) -> Links:
    """The links among the samples of an image cache; kept in its folder, so that the next run reads them.

    Parameters
    ----------
    cache
        The decoded data set.
    near
        Whether to look for near duplicates.
    sky_arcsec
        Samples at most so far apart on the sky are neighbours; None: nobody is.
    progress
        Show how far the comparison of images has come.
    """

    def compare() -> Pairs:
        distinct = np.sort(np.unique(cache.digests, return_index=True)[1])
        pairs = near_duplicates(cache.thumbnails[distinct], progress=progress)
        return Pairs(distinct[pairs.rows], pairs.score)

    def neighbours() -> Pairs:
        assert sky_arcsec is not None
        return sky_neighbours(cache.catalog.ra_deg, cache.catalog.dec_deg, sky_arcsec)

    return Links(
        exact=exact_duplicates(cache.digests),
        near=_kept(cache.path / f"near-{VERSION}.npz", compare) if near else no_pairs(),
        sky=no_pairs() if sky_arcsec is None else _kept(cache.path / f"sky-{VERSION}-{sky_arcsec!r}.npz", neighbours),
    )


def connected(n: int, *links: np.ndarray) -> np.ndarray:
    """Groups of rows that links (each (m, 2) int) connect: (n,) int64, numbered by their first row."""
    rows = np.concatenate([np.empty((0, 2), np.int64), *links])
    root = np.arange(n)
    while True:
        ends = root[rows]
        if np.array_equal(ends[:, 0], ends[:, 1]):
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        np.minimum.at(root, ends.max(axis=1), ends.min(axis=1))
        while not np.array_equal(root, root[root]):  # every row straight to its root: long chains take few rounds
            root = root[root]


def _kept(path: Path, find: Callable[[], Pairs]) -> Pairs:
    """What was found before, or is found now and kept; a cache that cannot be written to is only slower."""
    with suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as saved:
        return Pairs(saved["rows"], saved["score"])
    pairs = find()
    with suppress(AstroclfError), atomic_path(path) as temporary:
        np.savez(temporary, rows=pairs.rows, score=pairs.score)
    return pairs
