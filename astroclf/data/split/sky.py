"""Neighbours on the sky: cut-outs that show the same piece of it."""

from __future__ import annotations

import numpy as np

from astroclf.data.split.copies import Pairs, no_pairs


def sky_neighbours(ra_deg: np.ndarray | None, dec_deg: np.ndarray | None, arcsec: float) -> Pairs:
    """Pairs of rows at most `arcsec` apart; the score is their separation in arcseconds.

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
    from astropy import units
    from astropy.coordinates import SkyCoord, search_around_sky

    places = SkyCoord(ra_deg[known], dec_deg[known], unit="deg")
    first, second, separation, _ = search_around_sky(places, places, arcsec * units.arcsec)
    once = first < second  # each pair comes twice, and each row with itself
    rows = np.stack([known[first[once]], known[second[once]]], axis=1).astype(np.int64)
    order = np.lexsort((rows[:, 1], rows[:, 0]))
    return Pairs(rows[order], separation.arcsec[once][order])
