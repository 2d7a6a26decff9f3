"""Eight kinds of sky objects by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from astroclf.simulation import deep_sky, solar_system
from astroclf.simulation.canvas import Canvas

PAINTERS: dict[str, Callable[[Canvas, np.random.Generator], None]] = {
    "asteroid": solar_system.asteroid,
    "black_hole": deep_sky.black_hole,
    "comet": solar_system.comet,
    "constellation": deep_sky.constellation,
    "galaxy": deep_sky.galaxy,
    "nebula": deep_sky.nebula,
    "planet": solar_system.planet,
    "star": deep_sky.star,
}
"""Class name to painter, in label order."""


def draw_sky_object(name: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw one picture of a class in linear light, (height, width, 3) float32; `to_display` makes it viewable."""
    canvas = Canvas(height, width)
    PAINTERS[name](canvas, rng)
    return canvas.finish(rng, grain=float(rng.uniform(0.002, 0.012)))
