"""Light profiles that galaxies are built from: spheroids, discs, bars, spiral arms, edge-on discs, tidal tails."""

from __future__ import annotations

import math

import cv2
import numpy as np

from astroclf.simulation.telescope import SkyGrid, nanomaggies, per_survey_pixel
from astroclf.simulation.texture import stretched_noise


def plane(
    grid: SkyGrid, *, axis_ratio: float, angle: float, centre: tuple[float, float] = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """Return coordinates (arcsec) in the plane of an inclined disc: along its major axis, and across, deprojected."""
    x, y = grid.x - centre[0], grid.y - centre[1]
    cos, sin = math.cos(angle), math.sin(angle)
    return x * cos + y * sin, (y * cos - x * sin) / axis_ratio


def sersic(radius: np.ndarray, half_light: float, n: float, magnitude: float, axis_ratio: float) -> np.ndarray:
    """Compute a Sersic profile with the total r magnitude given (Graham & Driver 2005, PASA 22, 118).

    Parameters
    ----------
    radius, half_light
        Elliptical radii, in arcsec along the major axis.
    """
    b = 2.0 * n - 1.0 / 3.0 + 0.009876 / n  # Prugniel & Simien 1997
    area = 2.0 * math.pi * half_light**2 * axis_ratio * n * math.exp(b) * b ** (-2.0 * n) * math.gamma(2.0 * n)
    peak = nanomaggies(magnitude) * per_survey_pixel(area) * math.exp(b)
    # A cusp finer than the grid would depend on where the cell centres fall.
    softened = np.sqrt(radius**2 + (0.02 * half_light) ** 2)
    return peak * np.exp(-b * (softened / half_light) ** (1.0 / n))


def exponential(radius: np.ndarray, scale: float, magnitude: float, axis_ratio: float) -> np.ndarray:
    """Compute an exponential disc of scale length `scale` (arcsec) with the total r magnitude given."""
    peak = nanomaggies(magnitude) * per_survey_pixel(2.0 * math.pi * scale**2 * axis_ratio)
    return peak * np.exp(-radius / scale)


def bar(along: np.ndarray, across: np.ndarray, half_length: float, axis_ratio: float, boxiness: float) -> np.ndarray:
    """Compute a bar with a flat top and sharp ends, of peak one; `boxiness` 2 is an ellipse, 3 to 4 a box."""
    radius = (np.abs(along / half_length) ** boxiness + np.abs(across / (half_length * axis_ratio)) ** boxiness) ** (
        1.0 / boxiness
    )
    return np.exp(-1.2 * radius**2.6)


def spiral_arms(
    along: np.ndarray,
    across: np.ndarray,
    *,
    count: int,
    pitch_deg: float,
    phase: float,
    sharpness: float,
    wobble: np.ndarray | float = 0.0,
) -> np.ndarray:
    """Compute logarithmic spiral arms in the plane of a disc: one on an arm's ridge, near zero between arms.

    Parameters
    ----------
    pitch_deg
        Angle between arm and circle: 5 to 15 is tight, 20 to 40 loose. Negative winds the other way.
    sharpness
        Concentration of the von Mises profile across an arm.
    wobble
        Phase noise (rad), a number or (side, side), that makes the arms ragged.
    """
    log_radius = 0.5 * np.log(along**2 + across**2 + 0.05)
    winding = log_radius / math.tan(math.radians(pitch_deg))
    angle = np.arctan2(across, along)
    return np.exp(sharpness * (np.cos(count * (angle - winding) + phase + wobble) - 1.0))


def edge_on_disc(along: np.ndarray, height: np.ndarray, scale: float, thickness: float, magnitude: float) -> np.ndarray:
    """Compute a cut-off disc seen from the side: exponential along, sech^2 in height (van der Kruit & Searle 1981)."""
    distance = np.sqrt(along**2 + (0.35 * scale) ** 2)
    sech = 1.0 / np.cosh(np.clip(height / thickness, -12.0, 12.0))
    truncation = 1.0 / (1.0 + np.exp(np.clip((distance - 3.2 * scale) / (0.25 * scale), -30.0, 30.0)))
    peak = nanomaggies(magnitude) * per_survey_pixel(4.0 * scale * thickness)
    return peak * np.exp(-distance / scale) * sech**2 * truncation


def tidal_tail(
    grid: SkyGrid,
    rng: np.random.Generator,
    *,
    start: tuple[float, float],
    direction: float,
    length: float,
    bend: float,
    width: float,
    magnitude: float,
) -> np.ndarray:
    """Compute a stream of stars along an arc that bends by `bend` radians, fades and widens outward."""
    t = np.linspace(0.0, 1.0, 240)
    heading = direction + bend * t
    step = length / len(t)
    x = start[0] + np.cumsum(np.cos(heading)) * step
    y = start[1] + np.cumsum(np.sin(heading)) * step
    clumps = 1.0 + 0.35 * np.sin(2 * np.pi * (rng.uniform(1.5, 4.0) * t + rng.uniform()))
    weight = (1.0 - t) ** 0.7 * clumps
    stream = np.zeros((grid.side, grid.side), np.float32)
    near, far = t < 0.5, t >= 0.5
    for part, spread in ((near, width), (far, 1.6 * width)):
        stream += _blurred_points(grid, x[part], y[part], weight[part], spread)
    return stream * (nanomaggies(magnitude) * per_survey_pixel(grid.cell**2) / weight.sum())


def shell(along: np.ndarray, across: np.ndarray, radius: float, opening: float, thickness: float) -> np.ndarray:
    """Compute a stellar shell of peak one: an arc round +along with a sharp outer edge and a diffuse inner side."""
    distance = np.hypot(along, across)
    inside = np.exp(np.minimum((distance - radius) / thickness, 0.0))
    edge = 1.0 / (1.0 + np.exp(np.clip((distance - radius) / (0.08 * thickness), -30.0, 30.0)))
    angle = np.arctan2(across, along)
    return inside * edge * np.exp(-((angle / opening) ** 4))


def knots(grid: SkyGrid, rng: np.random.Generator, where: np.ndarray, count: int, width: float) -> np.ndarray:
    """Draw star-forming regions: unequal blobs with probability proportional to `where`, of unit total flux."""
    total = np.cumsum(where.ravel(), dtype=np.float64)
    cells = np.minimum(np.searchsorted(total, rng.uniform(0.0, total[-1], count)), total.size - 1)
    rows, columns = np.divmod(cells, grid.side)
    weight = rng.pareto(1.8, count) + 0.2  # the luminosity function of HII regions is a steep power law
    x = (columns + 0.5) * grid.cell - grid.field_arcsec / 2
    y = (rows + 0.5) * grid.cell - grid.field_arcsec / 2
    return _blurred_points(grid, x, y, np.minimum(weight, 6.0), width) / np.minimum(weight, 6.0).sum()


def flocculence(grid: SkyGrid, rng: np.random.Generator, strength: float) -> np.ndarray:
    """Draw the clumpiness of gas and young stars: a log-normal field with mean about one."""
    return np.exp(strength * stretched_noise(rng, grid.side, grid.side, slope=2.0, cells=72) - 0.5 * strength**2)


def _blurred_points(grid: SkyGrid, x: np.ndarray, y: np.ndarray, weight: np.ndarray, sigma: float) -> np.ndarray:
    columns = np.round(grid.cells(0.0) + x / grid.cell).astype(np.int64)
    rows = np.round(grid.cells(0.0) + y / grid.cell).astype(np.int64)
    inside = (columns >= 0) & (columns < grid.side) & (rows >= 0) & (rows < grid.side)
    points = np.zeros((grid.side, grid.side), np.float32)
    np.add.at(points, (rows[inside], columns[inside]), weight[inside].astype(np.float32))
    return cv2.GaussianBlur(points, (0, 0), max(sigma / grid.cell, 0.5))
