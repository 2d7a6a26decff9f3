"""Samples that show the same: exact and near duplicates, neighbours on the sky, and which of them splits tear apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from astroclf.audit.findings import Case, Finding, case_of, finding
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import SPLITS
from astroclf.data.split.field_bands import FieldBands, joining_hint
from astroclf.data.split.links import Links, Pairs, connected

SAME_OBJECT_ARCSEC = 1.0  # two positions closer than this are one object: it cannot have two labels


def copies(cache: ImageCache, links: Links) -> list[Finding]:
    """Find groups of exact duplicates, and groups of near duplicates with how alike they are."""
    exact = [case_of(cache, rows, "equal pixel by pixel") for rows in _groups(len(cache.catalog), links.exact)]
    near = []
    for rows in _groups(len(cache.catalog), links.near):
        scores = links.near.score[np.isin(links.near.rows[:, 0], rows)]
        low, high = float(scores.min()), float(scores.max())
        text = f"similarity {high:.2f}" if low == high else f"similarity {low:.2f} to {high:.2f}"
        near.append(case_of(cache, rows, text, similarity=round(high, 4)))
    near.sort(key=lambda case: -case.values["similarity"])
    return [
        *finding("exact duplicates", "warning", _conflicts_first(exact)),
        *finding("near duplicates", "warning", _conflicts_first(near)),
    ]


def bands_of_fields(cache: ImageCache, fields: Sequence[FieldBands]) -> list[Finding]:
    """Find fields whose bands lie in files of their own, and say how one sample is made of each."""
    cases = [case_of(cache, field.rows, f"the bands {', '.join(field.bands)} of one field") for field in fields]
    return [Finding("bands of one field", "warning", tuple(cases), joining_hint(fields))] if cases else []


def sky_neighbours(cache: ImageCache, pairs: Pairs, *, kept_together: bool) -> list[Finding]:
    """Find pairs of neighbours on the sky, the closest first; one position with two labels is always a warning."""
    cases = []
    for index in np.argsort(pairs.score, kind="stable"):
        separation = float(pairs.score[index])
        same = separation <= SAME_OBJECT_ARCSEC
        text = f"{separation:.1f}″ apart" + (": the same object" if same else "")
        cases.append(case_of(cache, pairs.rows[index], text, same_picture=same, separation_arcsec=round(separation, 3)))
    calm = kept_together and not any(case.conflict for case in cases)
    return finding("sky neighbours", "note" if calm else "warning", _conflicts_first(cases))


def leaks(cache: ImageCache, links: Links, split_of_row: np.ndarray) -> list[Finding]:
    """Find samples that show the same and lie in two splits.

    Parameters
    ----------
    split_of_row
        (N,) str, empty for rows that are in none.
    """
    n, group = len(cache.catalog), cache.catalog.group
    linked = [(rows, "equal pixel by pixel") for rows in _groups(n, links.exact)]
    linked += [(rows, "near duplicates") for rows in _groups(n, _torn_pairs(links.near, split_of_row))]
    linked += [(rows, "bands of one field") for rows in _groups(n, _torn_pairs(links.bands, split_of_row))]
    if group is not None:
        names, number = np.unique(group, return_inverse=True)
        linked += [(rows, f"the group {name}") for rows in _rows_of_each(number) if (name := names[number[rows[0]]])]
    apart = [(rows, f"{score:.1f}″ apart on the sky") for rows, score in zip(*links.sky, strict=True)]
    return [
        *finding("leak", "error", _torn(cache, linked, split_of_row)),
        *finding("sky leak", "warning", _torn(cache, apart, split_of_row)),
    ]


def _torn_pairs(pairs: Pairs, split_of_row: np.ndarray) -> Pairs:
    """Select the pairs with one row in one split and the other in another."""
    first, second = split_of_row[pairs.rows].T
    torn = (first != second) & (first != "") & (second != "")
    return Pairs(pairs.rows[torn], pairs.score[torn])


def _torn(cache: ImageCache, linked: Iterable[tuple[np.ndarray, str]], split_of_row: np.ndarray) -> Iterator[Case]:
    """Yield a case for each group of linked rows that lies in two splits or more."""
    for rows, why in linked:
        splits = split_of_row[rows].tolist()
        names = [name for name in SPLITS if name in splits]
        if len(names) > 1:
            yield case_of(cache, rows, f"{' and '.join(names)}: {why}", splits=splits)


def _groups(n: int, pairs: Pairs) -> list[np.ndarray]:
    """Return the rows that pairs connect, as groups of two or more, ordered by their first row."""
    return [rows for rows in _rows_of_each(connected(n, pairs.rows)) if len(rows) > 1]


def _rows_of_each(number_of_row: np.ndarray) -> list[np.ndarray]:
    """Return the rows of each number that occurs, in the order of the numbers."""
    order = np.argsort(number_of_row, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(number_of_row[order])) + 1) if len(order) else []


def _conflicts_first(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: not case.conflict)
