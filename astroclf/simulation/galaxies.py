"""Simulated cut-outs: a galaxy at a random distance, its neighbours on the sky, seen through the survey's telescope."""

from __future__ import annotations

import math

import numpy as np

from astroclf.simulation.morphologies import MORPHOLOGIES
from astroclf.simulation.telescope import (
    Scene,
    SkyGrid,
    color_composite,
    expose,
    nanomaggies,
    per_survey_pixel,
    sky_grid,
)

FIELD_ARCSEC = 44.0
"""Width of a simulated cut-out. The official ones span 67 arcsec; at 64 pixels that would leave too little galaxy."""

DISTANCE_RANGE = (0.9, 1.7)
"""Nearest and farthest galaxy, in units of the distance at which the sizes below hold."""


def draw_galaxy(class_index: int, rng: np.random.Generator, size: int) -> np.ndarray:
    """Draw one simulated cut-out of a Galaxy10 class.

    Returns
    -------
    (size, size, 3) uint8
    """
    light_grz = observe_galaxy(class_index, rng, size)
    return color_composite(light_grz)


def observe_galaxy(
    class_index: int,
    rng: np.random.Generator,
    size: int,
    *,
    field_arcsec: float = FIELD_ARCSEC,
    seeing_arcsec: float | None = None,
) -> np.ndarray:
    """Observe a galaxy of a Galaxy10 class: (3, size, size) float32, g, r, z in nanomaggies per survey pixel.

    Parameters
    ----------
    seeing_arcsec
        Full width at half maximum of the point spread; None draws one as usual at the survey's site.
    """
    # Distance shrinks a galaxy and leaves its surface brightness: the same as painting it over a wider field.
    far_scene = Scene(SkyGrid(size, field_arcsec * rng.uniform(*DISTANCE_RANGE)))
    MORPHOLOGIES[class_index](far_scene, rng)
    scene = Scene(sky_grid(size, field_arcsec))
    scene.light_grz += far_scene.light_grz
    _add_neighbours(scene, rng)
    # Real cut-outs differ in seeing from night to night and in the number of exposures stacked.
    return expose(scene, rng, seeing_arcsec=seeing_arcsec or rng.uniform(1.05, 1.5), depth=rng.lognormal(0.0, 0.35))


def _add_neighbours(scene: Scene, rng: np.random.Generator) -> None:
    """Add faint stars and galaxies of the field, few of them bright: most cut-outs have some."""
    half = scene.grid.field_arcsec / 2
    for _ in range(rng.poisson(9)):
        x, y = rng.uniform(-half, half, 2)
        magnitude = 24.3 - rng.exponential(1.1)
        if math.hypot(x, y) < 7.0:
            magnitude = max(magnitude, 22.0)  # a bright one on the galaxy itself would be a second nucleus
        magnitude = max(magnitude, 17.5)
        if rng.random() < 0.45:
            g_r = float(rng.choice((rng.uniform(0.3, 0.9), 1.45)))
            scene.add_star(x, y, magnitude, (g_r, 0.6 * g_r if g_r < 1.0 else rng.uniform(0.9, 1.7)))
        else:
            _add_small_galaxy(scene, rng, x, y, magnitude)


def _add_small_galaxy(scene: Scene, rng: np.random.Generator, x: float, y: float, magnitude: float) -> None:
    cell = scene.grid.cell
    sigma = rng.uniform(0.3, 0.8) / cell
    reach = int(3 * sigma) + 1
    axis = np.arange(-reach, reach + 1, dtype=np.float32)
    angle, q = rng.uniform(0.0, math.pi), rng.uniform(0.4, 1.0)
    along = axis[None, :] * math.cos(angle) + axis[:, None] * math.sin(angle)
    across = (axis[:, None] * math.cos(angle) - axis[None, :] * math.sin(angle)) / q
    patch = np.exp(-0.5 * (along**2 + across**2) / sigma**2)
    patch *= nanomaggies(magnitude) * per_survey_pixel(cell**2) / patch.sum()
    left, top = round(scene.grid.cells(x)) - reach, round(scene.grid.cells(y)) - reach
    scene.add_patch(patch, left, top, (rng.uniform(0.3, 1.5), rng.uniform(0.3, 1.1)))
