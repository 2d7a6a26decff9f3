"""A picture in linear light that sky objects are painted on, and the stars behind them."""

from __future__ import annotations

import math

import cv2
import numpy as np

Rgb = tuple[float, float, float]

# From hot to cool: colors of stars of spectral types B, A, G, K, M as they photograph.
STAR_COLORS = np.array(
    [(0.62, 0.75, 1.0), (0.85, 0.91, 1.0), (1.0, 0.95, 0.8), (1.0, 0.8, 0.52), (1.0, 0.6, 0.38)], np.float32
)


class Canvas:
    """A picture in linear light, (H, W, 3), painted at twice the final resolution.

    Attributes
    ----------
    u, v : (H, W) float32
        Offsets from the centre to the right and downward, in half lengths of the shorter side.
    light : (H, W, 3) float32
        Zero is black; one is bright; far above one burns out to white.
    """

    oversampling = 2

    def __init__(self, height: int, width: int) -> None:
        self.final_size = (height, width)
        self.height, self.width = height * self.oversampling, width * self.oversampling
        self.half = min(self.height, self.width) / 2
        rows = (np.arange(self.height, dtype=np.float32) + 0.5 - self.height / 2) / self.half
        columns = (np.arange(self.width, dtype=np.float32) + 0.5 - self.width / 2) / self.half
        self.u, self.v = np.meshgrid(columns, rows)
        self.light = np.zeros((self.height, self.width, 3), np.float32)

    def paint(self, brightness: np.ndarray, color: Rgb | np.ndarray) -> None:
        """Add light of one color."""
        self.light += brightness[..., None] * np.asarray(color, np.float32)

    def draw_line(
        self, layer: np.ndarray, start: tuple[float, float], end: tuple[float, float], thickness: int
    ) -> None:
        """Draw a line of light one between two positions (u, v) into a (H, W) layer."""
        cv2.line(layer, self._fixed_point(*start), self._fixed_point(*end), 1.0, thickness, cv2.LINE_AA, shift=4)

    def _fixed_point(self, u: float, v: float) -> tuple[int, int]:
        """Return column and row in sixteenths of a pixel: OpenCV's sub-pixel coordinates with shift=4."""
        column, row = u * self.half + self.width / 2 - 0.5, v * self.half + self.height / 2 - 0.5
        return round(16 * column), round(16 * row)

    def random_position(self, rng: np.random.Generator, margin: float = 0.0) -> tuple[float, float]:
        """Draw a position at least `margin` (half lengths of the shorter side) inside the frame."""
        reach_u, reach_v = self.width / 2 / self.half - margin, self.height / 2 / self.half - margin
        return float(rng.uniform(-reach_u, reach_u)), float(rng.uniform(-reach_v, reach_v))

    def finish(self, rng: np.random.Generator, grain: float = 0.004) -> np.ndarray:
        """Return the linear picture at its final size, (height, width, 3) float32, with the grain of a detector."""
        height, width = self.final_size
        light = cv2.resize(self.light, (width, height), interpolation=cv2.INTER_AREA)
        noise = rng.standard_normal((height, width, 3)).astype(np.float32)
        return np.maximum(light + noise * grain * np.sqrt(0.15 + np.maximum(light, 0.0)), 0.0)


def to_display(light: np.ndarray) -> np.ndarray:
    """Turn linear light into display values in [0, 1]: bright light burns out to white as on film, then gamma 2.2."""
    return (1.0 - np.exp(-np.maximum(light, 0.0))) ** (1 / 2.2)


def star_field(
    canvas: Canvas, rng: np.random.Generator, *, count: float, brightest: float, colorful: float = 1.0
) -> None:
    """Sprinkle stars: many faint, few bright (counts rise as for a uniform space density).

    Parameters
    ----------
    count
        Mean number of stars on a square frame.
    brightest
        Cap of the peak light of one star.
    colorful
        0 for a monochrome detector, 1 for natural colors.
    """
    number = rng.poisson(count * canvas.width * canvas.height / (2 * canvas.half) ** 2)
    peaks = np.minimum(0.03 * (1.0 - rng.random(number)) ** (-1 / 1.2), brightest)
    colors = 1.0 + colorful * (STAR_COLORS[rng.integers(0, len(STAR_COLORS), number)] - 1.0)
    points = np.zeros_like(canvas.light)
    rows, columns = rng.integers(0, canvas.height, number), rng.integers(0, canvas.width, number)
    np.add.at(points, (rows, columns), (peaks[:, None] * colors).astype(np.float32))
    for sigma, share in ((1.1, 1.0), (3.5, 0.25)):
        canvas.light += cv2.GaussianBlur(points, (0, 0), sigma) * (share * 2 * math.pi * 1.1**2)


def bright_star(
    canvas: Canvas,
    u: float,
    v: float,
    *,
    peak: float,
    core: float,
    color: Rgb | np.ndarray,
    spikes: int = 0,
    spike_length: float = 0.0,
    spike_angle: float = 0.0,
) -> None:
    """Paint a star with the halo and the diffraction spikes that a telescope's mirror and struts give it.

    Parameters
    ----------
    core
        Width of the core, half lengths of the shorter side.
    spikes
        Spikes counted all round: 4 for a cross of struts, 6 for hexagonal mirrors, 0 for a lens.
    """
    du, dv = canvas.u - u, canvas.v - v
    distance = np.sqrt(du**2 + dv**2)
    white = np.ones(3, np.float32)
    tint = np.asarray(color, np.float32)
    canvas.paint(peak * np.exp(-0.5 * (distance / core) ** 2), 0.5 * (white + tint))
    canvas.paint(peak * 0.05 / (1.0 + (distance / (2.0 * core)) ** 2.6), tint)
    for spike in range(spikes // 2):
        angle = spike_angle + spike * 2 * math.pi / spikes
        along = du * math.cos(angle) + dv * math.sin(angle)
        across = dv * math.cos(angle) - du * math.sin(angle)
        width = 0.35 * core + 1.0 / canvas.half
        profile = np.exp(-np.abs(along) / (0.3 * spike_length)) * np.exp(-0.5 * (across / width) ** 2)
        canvas.paint(0.45 * peak * profile, tint)
