"""Patches of sky, so that what a model is tested on comes from another field than what it was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from astroclf.data.catalog import Catalog
from astroclf.errors import ConfigError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import astropy_healpix
    from astropy import units
else:
    astropy_healpix = lazy_import("astropy_healpix")
    units = lazy_import("astropy.units")


def sky_cells(catalog: Catalog, nside: int) -> np.ndarray:
    """Return the HEALPix cell of each sample, (N,) int64 (Górski et al. 2005, ApJ 622, 759; nested order).

    Parameters
    ----------
    nside
        Cells along the side of each of HEALPix's twelve base cells: all have the same area, 58.6° / nside squared.

    Raises
    ------
    ConfigError
        Samples without a position.
    """
    if catalog.ra_deg is None or catalog.dec_deg is None:
        lost = np.arange(len(catalog))
    else:
        lost = np.flatnonzero(~(np.isfinite(catalog.ra_deg) & np.isfinite(catalog.dec_deg)))
    if len(lost) or catalog.ra_deg is None:
        raise ConfigError(
            f"dataset.split_by=sky needs the position of every sample: {len(lost)} of {len(catalog)} have none, "
            f"`{catalog.ids[lost[0]]}` first. Give `ra` and `dec` in degrees, as arrays of the file or columns "
            "of dataset.table (of other names: dataset.columns.ra=NAME dataset.columns.dec=NAME), or set "
            "dataset.split_by=samples."
        )
    grid = astropy_healpix.HEALPix(nside, order="nested")
    return np.asarray(grid.lonlat_to_healpix(catalog.ra_deg * units.deg, catalog.dec_deg * units.deg), np.int64)


def cell_degrees(nside: int) -> float:
    """Return the side of a square with the area of a cell, in degrees."""
    return float(astropy_healpix.nside_to_pixel_resolution(nside).to_value(units.deg))
