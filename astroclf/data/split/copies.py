"""Copies of an image: equal pixel by pixel, or turned, mirrored, shifted, re-compressed, brightened."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from astroclf.data.split.perceptual import Hashes, hash_pictures, likeness, similarity, turned
from astroclf.util.progress import ProgressBar

# Similarity from which on two pictures count as the same. Measured on 1,000 real galaxies of 256 px: no two different
# ones reach 0.63; the least of their copies has 0.98 (JPEG of quality 60), 0.94 (shifted by 2 px), 0.93 (turned,
# mirrored, shifted, 10 % brighter and JPEG at once). Of simulated galaxies of 64 px, where JPEG destroys more, no two
# reach 0.86, and 97 % of the copies of quality 60 do. benchmarks/near_duplicates.py measures it again.
COPY = 0.86
WORTH_A_LOOK = 0.55  # likeness from which on two pictures are compared as a whole; the least of those copies has 0.86
BLOCK = 1024  # rows at a time


class Pairs(NamedTuple):
    """Pairs of rows that have something to do with each other."""

    rows: np.ndarray  # (n, 2) int64, first < second, each pair once, sorted
    score: np.ndarray  # (n,) float64: similarity, at most 1; or separation in arcseconds


def no_pairs() -> Pairs:
    """Nothing linked."""
    return Pairs(np.empty((0, 2), np.int64), np.empty(0))


def exact_duplicates(digests: np.ndarray) -> Pairs:
    """Rows with the same digest, (N,) str: each further one with the first, so that k copies make k - 1 pairs."""
    _, first, inverse = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    rows = np.stack([first[inverse], np.arange(len(inverse))], axis=1)
    rows = rows[rows[:, 0] != rows[:, 1]]
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return Pairs(rows.astype(np.int64), np.ones(len(rows)))


def near_duplicates(thumbnails_NTT: np.ndarray, least: float = COPY, *, progress: bool = False) -> Pairs:
    """Pairs of images that show the same picture, under any of the square's eight symmetries.

    The amplitudes of all perceptual hashes are compared, block by block; pairs that may be copies by those are then
    compared as a whole. Takes about 7 kB of memory an image, and time that grows with the square of their number.

    Parameters
    ----------
    thumbnails_NTT
        Grey uint8, (N, 64, 64), as `ImageCache.thumbnails`. Equal ones are pairs too, but not those that show nothing.
    least
        Similarity from which on two images count as copies.
    progress
        Show images, rate and time left.
    """
    count = len(thumbnails_NTT)
    rows, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    with ProgressBar("Comparing images", count, enabled=progress) as bar:
        hashes = hash_pictures(thumbnails_NTT)
        for start in range(0, count, BLOCK):
            for candidates, score in _compare_block(hashes, start):
                alike = score >= least
                rows.append(candidates[alike])
                scores.append(score[alike])
            bar.advance(min(BLOCK, count - start))
    return _best_of_each(np.concatenate(rows), np.concatenate(scores).astype(np.float64))


def _compare_block(hashes: Hashes, start: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (m, 2) worth a look and their similarity (m,), of `BLOCK` rows with themselves and all later ones."""
    later = hashes.take(slice(start, None))
    for block in turned(hashes.take(slice(start, start + BLOCK))):
        first, second = np.nonzero(likeness(block, later) >= WORTH_A_LOOK)
        once = first < second
        first, second = first[once], second[once]
        for part in range(0, len(first), BLOCK):
            one, other = first[part : part + BLOCK], second[part : part + BLOCK]
            yield np.stack([one, other], axis=1) + start, similarity(block.take(one), later.take(other))


def _best_of_each(rows: np.ndarray, scores: np.ndarray) -> Pairs:
    """A pair that several symmetries found, once, with its best score."""
    order = np.lexsort((-scores, rows[:, 1], rows[:, 0]))
    rows, scores = rows[order], scores[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return Pairs(rows[new], scores[new])
