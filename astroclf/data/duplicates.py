"""Copies of an image: equal pixel by pixel, or turned, mirrored, shifted, re-compressed, brightened."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from astroclf.data.perceptual import Hashes, half_plane, hash_pictures, similarity, turned

COPY = 0.85  # similarity from which on two pictures count as the same
WORTH_A_LOOK = 0.65  # correlation of amplitudes from which on two pictures are compared as a whole
BLOCK = 1024  # rows at a time


class Pairs(NamedTuple):
    """Pairs of rows that have something to do with each other."""

    rows: np.ndarray  # (n, 2) int64, first < second, each pair once, sorted
    score: np.ndarray  # (n,) float64: similarity, at most 1; or separation in arcseconds


def no_pairs() -> Pairs:
    """Nothing linked."""
    return Pairs(np.empty((0, 2), np.int64), np.empty(0))


def exact_duplicates(digests: np.ndarray) -> Pairs:
    """Rows with the same digest, (N,) str: each further one paired with the first, so that k copies make k - 1 pairs."""
    _, first, inverse = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    rows = np.stack([first[inverse], np.arange(len(inverse))], axis=1)
    rows = rows[rows[:, 0] != rows[:, 1]]
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return Pairs(rows.astype(np.int64), np.ones(len(rows)))


def near_duplicates(thumbnails_NTT: np.ndarray, least: float = COPY) -> Pairs:
    """Pairs of images that show the same picture, under any of the square's eight symmetries.

    The amplitudes of all perceptual hashes are compared, block by block; pairs that may be copies by those are then
    compared as a whole. About 7 kB of memory an image; time grows with the square of their number.

    Parameters
    ----------
    thumbnails_NTT
        Grey uint8, (N, 64, 64), as `PixelStore.thumbnails`. Equal ones are pairs too, but not those that show nothing.
    least
        Similarity from which on two images count as copies.
    """
    hashes = hash_pictures(thumbnails_NTT)
    rows, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    for start in range(0, len(thumbnails_NTT), BLOCK):
        for candidates, score in _compare_block(hashes, start):
            alike = score >= least
            rows.append(candidates[alike])
            scores.append(score[alike])
    return _best_of_each(np.concatenate(rows), np.concatenate(scores).astype(np.float64))


def _compare_block(hashes: Hashes, start: int):
    """Pairs (m, 2) worth a look and their similarity (m,), of BLOCK rows with themselves and all later ones."""
    block = slice(start, start + BLOCK)
    later = 2 * half_plane(hashes.amplitudes[start:]).T
    for amplitudes, spectra in zip(turned(hashes.amplitudes[block]), turned(hashes.spectra[block]), strict=True):
        first, second = np.nonzero(half_plane(amplitudes) @ later >= WORTH_A_LOOK)
        once = first < second
        first, second = first[once], second[once]
        for part in range(0, len(first), BLOCK):
            one, other = first[part : part + BLOCK], second[part : part + BLOCK] + start
            yield np.stack([one + start, other], axis=1), similarity(spectra[one], hashes.spectra[other])


def _best_of_each(rows: np.ndarray, scores: np.ndarray) -> Pairs:
    """A pair that several symmetries found, once, with its best score."""
    order = np.lexsort((-scores, rows[:, 1], rows[:, 0]))
    rows, scores = rows[order], scores[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return Pairs(rows[new], scores[new])
