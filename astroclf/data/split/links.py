"""Links: pairs of samples that show the same picture or the same piece of sky, found once and kept.

Copies are equal pixel by pixel, or the same picture turned, mirrored, shifted, re-compressed or brightened (see
`perceptual`): in their files, whatever images are prepared to. Neighbours on the sky are cut-outs of the same piece
of it.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.cache.packed import Images
from astroclf.data.split.field_bands import FieldBands, field_pairs, find_fields
from astroclf.data.split.perceptual import Hashes, hash_pictures, likeness, similarity, turned
from astroclf.errors import AstroclfError
from astroclf.util.atomic import atomic_path
from astroclf.util.lazy import lazy_import
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores

if TYPE_CHECKING:
    from astropy import coordinates, units
else:  # takes a second to import: only where there are positions
    coordinates, units = lazy_import("astropy.coordinates"), lazy_import("astropy.units")

VERSION = 5  # of the algorithms: raise it when the same images would give other links

# Similarity from which on two pictures count as the same. Measured on 1,000 real galaxies of 256 px: no two different
# ones reach 0.63; the least of their copies has 0.98 (JPEG of quality 60), 0.94 (shifted by 2 px), 0.93 (turned,
# mirrored, shifted, 10 % brighter and JPEG at once). Of simulated galaxies of 64 px, where JPEG destroys more, no two
# reach 0.86, and 97 % of the copies of quality 60 do. benchmarks/near_duplicates.py measures it again.
COPY_SIMILARITY = 0.86
# Likeness from which on two pictures are compared as a whole; the least of those copies has 0.83.
CANDIDATE_LIKENESS = 0.7
BLOCK_ROWS = 1024  # compared at a time
# Each of more images than these is not compared with each: sorting them into companies of about NEAREST * COMPANY, of
# which each is in NEAREST, takes half of the comparisons at this number, and then grows with it, not with its square.
ALL_PAIRS = 32_768
NEAREST, COMPANY = 8, 256


class Pairs(NamedTuple):
    """Pairs of rows that have something to do with each other."""

    rows: np.ndarray  # (n, 2) int64, first < second, each pair once, sorted
    score: np.ndarray  # (n,) float64: similarity, at most 1; or separation in arcseconds


def no_pairs() -> Pairs:
    """Return no pair at all."""
    return Pairs(np.empty((0, 2), np.int64), np.empty(0))


def exact_duplicates(digests: np.ndarray) -> Pairs:
    """Find rows with the same digest, (N,) str: each further one with the first, so that k copies make k - 1 pairs."""
    _, first, inverse = np.unique(np.asarray(digests), return_index=True, return_inverse=True)
    rows = np.stack([first[inverse], np.arange(len(inverse))], axis=1)
    rows = rows[rows[:, 0] != rows[:, 1]]
    rows = rows[np.lexsort((rows[:, 1], rows[:, 0]))]
    return Pairs(rows.astype(np.int64), np.ones(len(rows)))


def near_duplicates(
    thumbnails_NTT: Images,
    rows: np.ndarray | None = None,
    *,
    least: float = COPY_SIMILARITY,
    num_workers: int = 0,
    progress: bool = False,
) -> Pairs:
    """Find pairs of images that show the same picture, under any of the square's eight symmetries.

    The amplitudes of perceptual hashes are compared; pairs that may be copies by those are then compared as a whole.
    Of up to `ALL_PAIRS` images, each is compared with each; of more, those that resemble the same ones of some, see
    `_companies`. Takes about 1.7 kB of memory an image.

    Parameters
    ----------
    thumbnails_NTT
        Grey uint8, (N, 64, 64), as `ImageCache.thumbnails`. Equal ones are pairs too, but not those that show next to
        nothing.
    rows
        Look among these only, (n,) sorted; None: all.
    least
        Similarity from which on two images count as copies.
    num_workers
        Threads that hash.
    progress
        Show images, rate and time left.
    """
    rows = np.arange(len(thumbnails_NTT)) if rows is None else rows
    hashes, checksums = hash_pictures(thumbnails_NTT, rows, num_workers=num_workers, progress=progress)
    nearest, companies = _companies(hashes, checksums, progress=progress)
    found, scores = [np.empty((0, 2), np.int64)], [np.empty(0, np.float32)]
    with ProgressBar("Comparing images", sum(map(len, companies)), enabled=progress) as bar:
        for number, company in enumerate(companies):
            members = hashes.take(company)
            for start in range(0, len(company), BLOCK_ROWS):
                for pairs, score in _compare_block(members, start, nearest[company], number):
                    alike = score >= least
                    found.append(company[pairs[alike]])
                    scores.append(score[alike])
                bar.advance(min(BLOCK_ROWS, len(company) - start))
    return _best_of_each(rows[np.concatenate(found)], np.concatenate(scores).astype(np.float64))


def _companies(hashes: Hashes, checksums: np.ndarray, *, progress: bool = False) -> tuple[np.ndarray, list[np.ndarray]]:
    """Divide pictures that show something into companies: copies are in one of them together.

    Some of the pictures, one in `COMPANY`, are landmarks, and each picture is in the companies of the landmarks that it
    resembles most, however it is turned. A copy resembles the same ones: of 4,000 copies of composites of real galaxies
    (turned, shifted, brighter and compressed) among 17,736, 99.8 % have one of the four nearest of 256 landmarks in
    common, and all have one of the eight nearest; with 64 and with 1,024 landmarks it is the same. Landmarks are chosen
    by what they show, not by their rows.

    Returns
    -------
    nearest : (N, n) int32
        The companies of each picture.
    companies : list of (m,) int64
        The rows in each, sorted.
    """
    telling = np.flatnonzero(hashes.amplitudes.any(axis=1))
    if len(telling) <= ALL_PAIRS:
        return np.zeros((len(hashes.amplitudes), 1), np.int32), [telling]
    by_checksum = telling[np.unique(checksums[telling], return_index=True)[1]]
    landmarks = turned(hashes.take(by_checksum[: len(telling) // COMPANY]))
    count = min(NEAREST, len(landmarks[0].amplitudes))
    nearest = np.zeros((len(hashes.amplitudes), count), np.int32)
    with ProgressBar("Sorting images", len(telling), enabled=progress) as bar:
        for start in range(0, len(telling), BLOCK_ROWS):
            some = telling[start : start + BLOCK_ROWS]
            block, best = hashes.take(some), np.float32(-1)
            for each in landmarks:
                best = np.maximum(best, likeness(block, each))
            nearest[some] = np.argpartition(best, -count, axis=1)[:, -count:]
            bar.advance(len(some))
    company_of = nearest[telling].ravel()
    members = np.repeat(telling, count)[np.argsort(company_of, kind="stable")]
    ends = np.cumsum(np.bincount(company_of, minlength=len(landmarks[0].amplitudes)))
    return nearest, np.split(members, ends[:-1])


def _compare_block(
    hashes: Hashes, start: int, companies: np.ndarray, company: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield candidate pairs (m, 2) and their similarity (m,), of a block of rows with itself and all later ones.

    Pairs that are in an earlier one of their `companies`, (N, n), together are compared there.
    """
    later, companies_later = hashes.take(slice(start, None)), companies[start:]
    for block in turned(hashes.take(slice(start, start + BLOCK_ROWS))):
        first, second = np.nonzero(likeness(block, later) >= CANDIDATE_LIKENESS)
        once = first < second
        first, second = first[once], second[once]
        for part in range(0, len(first), BLOCK_ROWS):
            one, other = first[part : part + BLOCK_ROWS], second[part : part + BLOCK_ROWS]
            common = companies_later[one][:, :, None] == companies_later[other][:, None, :]
            here = ~(common.any(axis=2) & (companies_later[one] < company)).any(axis=1)
            one, other = one[here], other[here]
            yield np.stack([one, other], axis=1) + start, similarity(block.take(one), later.take(other))


def _best_of_each(rows: np.ndarray, scores: np.ndarray) -> Pairs:
    """Keep each pair that several symmetries found once, with its best score."""
    order = np.lexsort((-scores, rows[:, 1], rows[:, 0]))
    rows, scores = rows[order], scores[order]
    new = np.ones(len(rows), bool)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return Pairs(rows[new], scores[new])


def sky_neighbours(ra_deg: np.ndarray | None, dec_deg: np.ndarray | None, arcsec: float) -> Pairs:
    """Find pairs of rows that are at most `arcsec` apart on the sky; their score is the separation in arcseconds.

    Parameters
    ----------
    ra_deg, dec_deg
        (N,) ICRS positions in degrees; rows where one is NaN have no neighbours. None: nobody has.
    arcsec
        Largest separation.
    """
    if ra_deg is None or dec_deg is None:
        return no_pairs()
    known = np.flatnonzero(np.isfinite(ra_deg) & np.isfinite(dec_deg))
    if len(known) < 2:
        return no_pairs()
    places = coordinates.SkyCoord(ra_deg[known], dec_deg[known], unit="deg")
    first, second, separation, _ = coordinates.search_around_sky(places, places, arcsec * units.arcsec)
    once = first < second  # each pair comes twice, and each row with itself
    rows = np.stack([known[first[once]], known[second[once]]], axis=1).astype(np.int64)
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Pairs(rows[order], separation.arcsec[once][order])


@dataclass(frozen=True)
class Links:
    """Pairs of samples by what links them; a pair may be in `sky` and in one of the others.

    Attributes
    ----------
    exact
        Equal pixel by pixel, in whatever kind of file: each further copy with the first. Score 1.
    near
        Different pixels, the same picture; of exact copies, only the first is compared. Score: similarity.
    sky
        Neighbours on the sky. Score: separation in arcseconds.
    bands
        Bands of one field: each further one with the first. They are in no other but `sky`.
    fields
        The fields that these are of, see `find_fields`.
    """

    exact: Pairs = field(default_factory=no_pairs)
    near: Pairs = field(default_factory=no_pairs)
    sky: Pairs = field(default_factory=no_pairs)
    bands: Pairs = field(default_factory=no_pairs)
    fields: tuple[FieldBands, ...] = ()

    def copies(self, n: int) -> np.ndarray:
        """Give those of n rows that show the same picture the same number, (n,) int64."""
        return connected(n, self.exact.rows, self.near.rows)


def find_links(cache: ImageCache, *, near: bool, sky_arcsec: float | None, progress: bool = True) -> Links:
    """Find the links among the samples of an image cache, and keep them in its folder for the next run.

    Parameters
    ----------
    cache
        The decoded data set.
    near
        Look for near duplicates, and for bands of one field.
    sky_arcsec
        Samples at most so far apart on the sky are neighbours; None: nobody is.
    progress
        Show how far the comparison of images has come.
    """

    def compare() -> Pairs:
        distinct = np.sort(np.unique(cache.pixel_digests, return_index=True)[1])
        return near_duplicates(cache.thumbnails, distinct, num_workers=available_cores(), progress=progress)

    def neighbours() -> Pairs:
        assert sky_arcsec is not None
        return sky_neighbours(cache.catalog.ra_deg, cache.catalog.dec_deg, sky_arcsec)

    fields = find_fields(cache.catalog) if near else []
    pairs = field_pairs(fields)
    return Links(
        exact=exact_duplicates(cache.pixel_digests),
        near=_apart(_kept(cache.path / f"near-{VERSION}.npz", compare), pairs) if near else no_pairs(),
        bands=Pairs(pairs, np.ones(len(pairs))),
        fields=tuple(fields),
        sky=no_pairs() if sky_arcsec is None else _kept(cache.path / f"sky-{VERSION}-{sky_arcsec!r}.npz", neighbours),
    )


def _apart(pairs: Pairs, bands: np.ndarray) -> Pairs:
    """Keep the pairs that are not two bands of one field."""
    if not len(bands) or not len(pairs.rows):
        return pairs
    field_of_row = connected(int(max(bands.max(), pairs.rows.max())) + 1, bands)
    apart = field_of_row[pairs.rows[:, 0]] != field_of_row[pairs.rows[:, 1]]
    return Pairs(pairs.rows[apart], pairs.score[apart])


def _kept(path: Path, find: Callable[[], Pairs]) -> Pairs:
    """Read what was found before, or find and keep it; a cache that cannot be written to is only slower."""
    unreadable = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
    with suppress(*unreadable), path.open("rb") as file, np.load(file) as saved:  # np.load leaves a damaged one open
        return Pairs(saved["rows"], saved["score"])
    pairs = find()
    with suppress(AstroclfError), atomic_path(path) as temporary:
        np.savez(temporary, rows=pairs.rows, score=pairs.score)
    return pairs


def connected(n: int, *links: np.ndarray) -> np.ndarray:
    """Give rows that links, each (m, 2) int, connect the same number: (n,) int64, in the order of their first rows."""
    rows = np.concatenate([np.empty((0, 2), np.int64), *links])
    root = np.arange(n)
    while True:
        ends = root[rows]
        if np.array_equal(ends[:, 0], ends[:, 1]):
            return np.unique(root, return_inverse=True)[1].astype(np.int64)
        np.minimum.at(root, ends.max(axis=1), ends.min(axis=1))
        while not np.array_equal(root, root[root]):  # every row straight to its root: long chains take few rounds
            root = root[root]
