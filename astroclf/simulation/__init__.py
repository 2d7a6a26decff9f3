"""Simulated galaxies and sky objects, written in the file formats that real data come in."""

from astroclf.simulation.contact_sheet import contact_sheet
from astroclf.simulation.galaxy10_file import write_galaxy10
from astroclf.simulation.sky_folder import write_astro8

SIMULATOR_VERSION = 1
"""Raise it whenever a simulated pixel changes: cached data sets of older versions are then no longer used."""

__all__ = ["SIMULATOR_VERSION", "contact_sheet", "write_astro8", "write_galaxy10"]
