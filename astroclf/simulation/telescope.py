"""A telescope, from surface brightness to a picture: sky grid, seeing, photon noise and the survey's colors."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

SURVEY_PIXEL_ARCSEC = 0.262
"""Pixel of the DECam Legacy Survey cut-outs; surface brightness is in nanomaggies per such pixel."""

# Dark sky and detector of the survey in its bands g, r, z: sky in nanomaggies per survey pixel, and electrons
# collected per nanomaggy in the stacked exposures. Together they give the noise measured in real cut-outs
# (about 0.0013, 0.0024 and 0.0036 nanomaggies per pixel).
SKY_GRZ = np.array([0.10, 0.21, 0.60], np.float32)
ELECTRONS_PER_NANOMAGGY_GRZ = np.array([60_000.0, 36_000.0, 46_000.0], np.float32)
READ_NOISE_ELECTRONS = 12.0

# Color composite of the survey's sky viewer: asinh stretch of Lupton et al. 2004 (arXiv:astro-ph/0312483).
DISPLAY_SCALES_ZRG = np.array([2.2, 3.4, 6.0], np.float32)
DISPLAY_SOFTENING = 20.0
DISPLAY_PEDESTAL = 0.03

_FINEST_GRID = 192  # cells across the field: enough that 1 arcsec seeing is sampled by several cells


class SkyGrid:
    """A square field on a grid at least as fine as the picture; positions in arcsec from the centre.

    Attributes
    ----------
    x, y : (side, side) float32
        Offsets of the cell centres.
    cell : float
        Width of a cell, arcsec.
    """

    def __init__(self, size: int, field_arcsec: float) -> None:
        self.size = size
        self.field_arcsec = field_arcsec
        self.side = size * max(1, -(-_FINEST_GRID // size))
        self.cell = field_arcsec / self.side
        axis = ((np.arange(self.side) + 0.5) * self.cell - field_arcsec / 2).astype(np.float32)
        self.x, self.y = np.meshgrid(axis, axis)

    def cells(self, offset_arcsec: float) -> float:
        """Return the cell index (fractional) of an offset along one axis."""
        return (offset_arcsec + self.field_arcsec / 2) / self.cell - 0.5


@lru_cache(maxsize=8)
def sky_grid(size: int, field_arcsec: float) -> SkyGrid:
    """Return the grid for one picture size, shared by all pictures; do not write to its arrays."""
    return SkyGrid(size, field_arcsec)


class Scene:
    """The light collected so far: surface brightness in g, r, z over a sky grid."""

    def __init__(self, grid: SkyGrid) -> None:
        self.grid = grid
        self.light_grz = np.zeros((3, grid.side, grid.side), np.float32)

    def add(self, brightness: np.ndarray, color: tuple[float, float]) -> None:
        """Add light with the r-band surface brightness given and the color (g - r, r - z) in magnitudes."""
        for band, ratio in enumerate(band_ratios(color)):
            self.light_grz[band] += ratio * brightness

    def add_patch(self, patch: np.ndarray, left: int, top: int, color: tuple[float, float]) -> None:
        """Add light of a small (h, w) patch whose corner lies at a cell; what falls outside the field is cut off."""
        side = self.grid.side
        height, width = patch.shape
        x0, x1, y0, y1 = max(left, 0), min(left + width, side), max(top, 0), min(top + height, side)
        if x0 >= x1 or y0 >= y1:
            return
        inside = patch[y0 - top : y1 - top, x0 - left : x1 - left]
        for band, ratio in enumerate(band_ratios(color)):
            self.light_grz[band, y0:y1, x0:x1] += ratio * inside

    def add_star(self, x: float, y: float, magnitude: float, color: tuple[float, float]) -> None:
        """Add a point source at an offset (arcsec) with an r magnitude, shared bilinearly between four cells."""
        left, top = self.grid.cells(x), self.grid.cells(y)
        column, row = int(np.floor(left)), int(np.floor(top))
        share_x, share_y = left - column, top - row
        patch = np.outer([1 - share_y, share_y], [1 - share_x, share_x]).astype(np.float32)
        self.add_patch(patch * nanomaggies(magnitude) * per_survey_pixel(self.grid.cell**2), column, row, color)


def nanomaggies(magnitude: float) -> float:
    """Return the flux of an AB magnitude in nanomaggies (22.5 is one)."""
    return float(10.0 ** (0.4 * (22.5 - magnitude)))


def per_survey_pixel(area_arcsec2: float) -> float:
    """Return the factor that turns a flux spread over an area into surface brightness per survey pixel."""
    return SURVEY_PIXEL_ARCSEC**2 / area_arcsec2


def band_ratios(color: tuple[float, float]) -> tuple[float, float, float]:
    """Return the flux in g, r, z relative to r for a color (g - r, r - z)."""
    return 10.0 ** (-0.4 * color[0]), 1.0, 10.0 ** (0.4 * color[1])


def moffat_kernel(fwhm: float, beta: float = 3.0) -> np.ndarray:
    """Compute the seeing: a Moffat profile (Moffat 1969) of the given width in cells, summing to one."""
    half = int(np.ceil(2.5 * fwhm))
    axis = np.arange(-half, half + 1, dtype=np.float32)
    core = fwhm / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0))
    kernel = (1.0 + (axis[:, None] ** 2 + axis[None, :] ** 2) / core**2) ** -beta
    return (kernel / kernel.sum()).astype(np.float32)


def expose(scene: Scene, rng: np.random.Generator, *, seeing_arcsec: float, depth: float = 1.0) -> np.ndarray:
    """Observe a scene: seeing, pixel integration, photon and read noise, sky subtraction.

    Parameters
    ----------
    depth
        Exposure time relative to the survey's median.

    Returns
    -------
    (3, size, size) float32
        g, r, z in nanomaggies per survey pixel, noise included.
    """
    grid = scene.grid
    kernel = moffat_kernel(seeing_arcsec / grid.cell)
    pixel_arcsec = grid.field_arcsec / grid.size
    area = (pixel_arcsec / SURVEY_PIXEL_ARCSEC) ** 2
    bands = []
    for band in range(3):
        blurred = cv2.filter2D(scene.light_grz[band], -1, kernel, borderType=cv2.BORDER_REPLICATE)
        pixels = cv2.resize(blurred, (grid.size, grid.size), interpolation=cv2.INTER_AREA)
        electrons = ELECTRONS_PER_NANOMAGGY_GRZ[band] * depth * area
        expected = np.maximum(pixels + SKY_GRZ[band], 0.0) * electrons
        read_noise = READ_NOISE_ELECTRONS * np.sqrt(area) * rng.standard_normal(expected.shape)
        bands.append((rng.poisson(expected) + read_noise) / electrons - SKY_GRZ[band])
    return np.stack(bands).astype(np.float32)


def color_composite(light_grz: np.ndarray) -> np.ndarray:
    """Make the survey's color picture of (3, H, W) nanomaggies per survey pixel: (H, W, 3) uint8, z red, g blue."""
    scaled = light_grz[::-1] * DISPLAY_SCALES_ZRG[:, None, None] + DISPLAY_PEDESTAL
    intensity = np.maximum(scaled, 0.0).mean(axis=0)
    stretched = np.arcsinh(DISPLAY_SOFTENING * intensity) / np.sqrt(DISPLAY_SOFTENING)
    rgb = scaled * (stretched / np.maximum(intensity, 1e-6))
    return (np.clip(rgb, 0.0, 1.0) * 255.0).astype(np.uint8).transpose(1, 2, 0).copy()
