"""The ten galaxy morphologies of Galaxy10 DECaLS, each painted with random proportions, colors and orientation."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from astroclf.simulation import profiles
from astroclf.simulation.telescope import Scene, SkyGrid, nanomaggies

Color = tuple[float, float]  # (g - r, r - z) in magnitudes


def disturbed(scene: Scene, rng: np.random.Generator) -> None:
    """Paint one nucleus, an off-centre and lopsided body, and a tail, a plume or shells."""
    grid, angle = scene.grid, _angle(rng)
    mag, blue, red = _brightness(rng), _disc_color(rng), _bulge_color(rng)
    size, q = rng.uniform(2.0, 3.2), rng.uniform(0.5, 0.9)
    away = _angle(rng)
    lean = rng.uniform(0.4, 0.9) * size
    body = (lean * math.cos(away), lean * math.sin(away))
    along, across = profiles.plane(grid, axis_ratio=q, angle=angle, centre=body)
    # The m = 1 mode of a lopsided disc raises one side and starves the other.
    lopsided = 1.0 + 0.7 * np.cos(np.arctan2(across, along) - _angle(rng))
    disc = profiles.exponential(np.hypot(along, across), 0.7 * size, mag + 0.5, q)
    scene.add(disc * lopsided * profiles.flocculence(grid, rng, 0.4), blue)
    fainter = rng.uniform(0.9, 1.5)
    scene.add(_spheroid(grid, 0.3 * size, rng.uniform(1.5, 3.0), mag + fainter, rng.uniform(0.6, 1.0), angle), red)
    sign = float(rng.choice((-1.0, 1.0)))
    remnant = rng.choice(("tails", "shells", "plume"), p=(0.55, 0.2, 0.25))
    if remnant == "tails":
        length = rng.uniform(13.0, 20.0)
        _tail(scene, rng, away, sign, length, mag + rng.uniform(1.6, 2.2), _between(blue, red, 0.3))
        if rng.random() < 0.5:
            _tail(scene, rng, away + math.pi, sign, 0.6 * length, mag + rng.uniform(2.2, 2.8), blue)
    elif remnant == "plume":
        plume = rng.uniform(1.2, 1.9)
        _tail(scene, rng, away, sign, rng.uniform(11.0, 15.0), mag + rng.uniform(1.3, 1.8), blue, width=plume)
    else:  # shells: left by a small galaxy that fell in along a line, on alternating sides
        for order, radius in enumerate(np.sort(rng.uniform(5.5, 13.5, rng.integers(2, 5)))):
            side = away + order * math.pi + rng.normal(0.0, 0.2)
            arc = profiles.shell(
                *profiles.plane(grid, axis_ratio=rng.uniform(0.8, 1.0), angle=side), radius, rng.uniform(0.6, 1.0), 1.3
            )
            brightness = nanomaggies(mag) * 2.6e-4 * rng.uniform(0.7, 1.4) * 6.0 / radius
            scene.add(arc * brightness, _between(blue, red, rng.uniform(0.3, 0.8)))


def merging(scene: Scene, rng: np.random.Generator) -> None:
    """Paint two nuclei of comparable light in a common envelope, often with tails and a bridge."""
    grid, mag, angle = scene.grid, _brightness(rng) + 0.3, _angle(rng)
    separation = rng.uniform(4.2, 9.0)
    sign = float(rng.choice((-1.0, 1.0)))
    interacting = rng.random() < 0.65
    dry = rng.random() < 0.4  # a merger of ellipticals: no gas, no young stars
    for turn, fainter in ((0.0, 0.0), (math.pi, rng.uniform(0.0, 0.9))):
        outward = angle + turn
        centre = (0.5 * separation * math.cos(outward), 0.5 * separation * math.sin(outward))
        q, tilt, size = rng.uniform(0.4, 1.0), _angle(rng), rng.uniform(0.9, 1.8)
        red = _bulge_color(rng)
        blue = _between(_disc_color(rng), red, 0.85 if dry else 0.15)
        nucleus = mag + rng.uniform(0.7, 1.1) + fainter
        scene.add(_spheroid(grid, 0.4 * size, rng.uniform(1.5, 3.5), nucleus, max(q, 0.6), tilt, centre), red)
        along, across = profiles.plane(grid, axis_ratio=q, angle=tilt, centre=centre)
        disc = profiles.exponential(np.hypot(along, across), size, mag + 1.3 + fainter, q)
        scene.add(disc * profiles.flocculence(grid, rng, 0.3), blue)
        if interacting and rng.random() < 0.8:
            start = (centre[0] + size * math.cos(outward), centre[1] + size * math.sin(outward))
            heading = outward + rng.normal(0.0, 0.5)
            _tail(scene, rng, heading, sign, rng.uniform(8.0, 16.0), mag + 2.5 + fainter, blue, start)
    envelope = _spheroid(grid, 0.9 * separation, 1.0, mag + 1.9, rng.uniform(0.5, 0.8), angle)
    scene.add(envelope, (0.75, 0.55))


def round_smooth(scene: Scene, rng: np.random.Generator) -> None:
    """Paint an elliptical seen round: axis ratio above 0.86."""
    _smooth(scene, rng, axis_ratio=rng.uniform(0.86, 1.0), n=rng.uniform(2.5, 5.0), size=rng.lognormal(1.0, 0.28))


def in_between_smooth(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a smooth galaxy of middle axis ratio, 0.46 to 0.78."""
    _smooth(scene, rng, axis_ratio=rng.uniform(0.46, 0.78), n=rng.uniform(1.5, 4.5), size=rng.lognormal(1.1, 0.28))


def cigar_smooth(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a smooth, elongated galaxy that is thicker and shorter than a disc seen edge-on."""
    _smooth(scene, rng, axis_ratio=rng.uniform(0.22, 0.38), n=rng.uniform(0.9, 1.8), size=rng.lognormal(1.2, 0.22))


def barred_spiral(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a bar, arms from its ends, often a ring round it."""
    grid, mag, angle = scene.grid, _brightness(rng), _angle(rng)
    q, scale = rng.uniform(0.6, 1.0), rng.uniform(3.4, 5.2)
    along, across = profiles.plane(grid, axis_ratio=q, angle=angle)
    half_length = rng.uniform(0.85, 1.4) * scale
    bar_angle = _angle(rng)
    bar_along = along * math.cos(bar_angle) + across * math.sin(bar_angle)
    bar_across = across * math.cos(bar_angle) - along * math.sin(bar_angle)
    red = _bulge_color(rng)
    bar = profiles.bar(bar_along, bar_across, half_length, rng.uniform(0.2, 0.32), rng.uniform(2.0, 3.2))
    scene.add(bar * nanomaggies(mag) * rng.uniform(1.1, 2.4) * 1e-3, red)
    scene.add(
        _spheroid(grid, 0.26 * scale, rng.uniform(1.2, 2.5), mag + rng.uniform(1.3, 2.2), rng.uniform(0.8, 1.0), angle),
        red,
    )
    radius = np.hypot(along, across)
    if rng.random() < 0.55:
        ring = np.exp(-0.5 * ((radius - 1.08 * half_length) / (0.16 * half_length)) ** 2)
        scene.add(ring * nanomaggies(mag) * rng.uniform(3.0, 6.0) * 1e-4, _disc_color(rng))
    # The arms leave the bar's ends: their phase is tied to the bar's angle.
    pitch = float(rng.choice((-1.0, 1.0)) * rng.uniform(14.0, 28.0))
    at_end = 2.0 * (math.log(half_length) / math.tan(math.radians(pitch)) - bar_angle)
    _spiral_disc(scene, rng, along, across, scale, mag, q, count=2, pitch=pitch, phase=at_end, inner=half_length)


def tight_spiral(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a clear bulge without a bar, and arms wound at 7 to 14 degrees."""
    pitch = rng.choice((-1.0, 1.0)) * rng.uniform(7.0, 14.0)
    _unbarred(scene, rng, pitch, count=int(rng.choice((2, 3), p=(0.75, 0.25))), bulge_fainter=rng.uniform(0.7, 2.0))


def loose_spiral(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a small bulge without a bar, and open arms at 20 to 38 degrees."""
    pitch = rng.choice((-1.0, 1.0)) * rng.uniform(20.0, 38.0)
    _unbarred(
        scene, rng, pitch, count=int(rng.choice((2, 3, 4), p=(0.6, 0.25, 0.15))), bulge_fainter=rng.uniform(1.1, 2.8)
    )


def edge_on_without_bulge(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a thin disc from the side, without a bulge."""
    _edge_on(scene, rng, _disc_color(rng), thickness=rng.uniform(0.09, 0.17), bulge_fraction=0.0)


def edge_on_with_bulge(scene: Scene, rng: np.random.Generator) -> None:
    """Paint a thin disc from the side with a bulge that stands out above and below it."""
    color = _between(_disc_color(rng), _bulge_color(rng), rng.uniform(0.3, 0.8))
    _edge_on(scene, rng, color, thickness=rng.uniform(0.08, 0.14), bulge_fraction=rng.uniform(0.2, 0.5))


MORPHOLOGIES: tuple[Callable[[Scene, np.random.Generator], None], ...] = (
    disturbed,
    merging,
    round_smooth,
    in_between_smooth,
    cigar_smooth,
    barred_spiral,
    tight_spiral,
    loose_spiral,
    edge_on_without_bulge,
    edge_on_with_bulge,
)
"""One per class, in the label order of Galaxy10 DECaLS."""


# --- parts that several classes share -------------------------------------------------------------------------------


def _smooth(scene: Scene, rng: np.random.Generator, *, axis_ratio: float, n: float, size: float) -> None:
    color = _bulge_color(rng) if rng.random() < 0.75 else _between(_disc_color(rng), _bulge_color(rng), 0.5)
    # The axis ratios given are those of the isophotes: half-light radii are along the major axis.
    scene.add(_spheroid(scene.grid, size, n, _brightness(rng), axis_ratio, _angle(rng)), color)


def _unbarred(scene: Scene, rng: np.random.Generator, pitch: float, *, count: int, bulge_fainter: float) -> None:
    grid, mag, angle = scene.grid, _brightness(rng), _angle(rng)
    q, scale = rng.uniform(0.6, 1.0), rng.uniform(3.2, 5.2)
    along, across = profiles.plane(grid, axis_ratio=q, angle=angle)
    bulge_size = rng.uniform(0.25, 0.4) * scale
    bulge_q = 0.5 * (1.0 + q)  # a bulge is rounder than the disc round it
    bulge = _spheroid(grid, bulge_size, rng.uniform(1.5, 3.5), mag + bulge_fainter, bulge_q, angle)
    scene.add(bulge, _bulge_color(rng))
    phase = _angle(rng)
    _spiral_disc(scene, rng, along, across, scale, mag, q, count=count, pitch=pitch, phase=phase, inner=0.5 * scale)


def _spiral_disc(
    scene: Scene,
    rng: np.random.Generator,
    along: np.ndarray,
    across: np.ndarray,
    scale: float,
    mag: float,
    q: float,
    *,
    count: int,
    pitch: float,
    phase: float,
    inner: float,
) -> None:
    grid = scene.grid
    radius = np.hypot(along, across)
    blue = _disc_color(rng)
    wobble = rng.uniform(0.1, 0.45) * profiles.stretched_noise(rng, grid.side, grid.side, slope=3.0, cells=48)
    arms = profiles.spiral_arms(
        along, across, count=count, pitch_deg=pitch, phase=phase, sharpness=rng.uniform(1.6, 3.2), wobble=wobble
    )
    within = 1.0 / (1.0 + np.exp(np.clip((inner * 0.85 - radius) / (0.12 * inner), -30.0, 30.0)))
    outer = 1.0 / (1.0 + np.exp(np.clip((radius - 3.4 * scale) / (0.4 * scale), -30.0, 30.0)))
    contrast = rng.uniform(2.2, 4.2)
    smooth_disc = profiles.exponential(radius, scale, mag + 0.9, q) * outer
    scene.add(smooth_disc, _between(blue, _bulge_color(rng), 0.35))
    # Arms fade more slowly than the old disc: star formation reaches farther out.
    young = profiles.exponential(radius, 1.25 * scale, mag + 0.9, q) * arms * within * outer
    scene.add(contrast * young * profiles.flocculence(grid, rng, rng.uniform(0.25, 0.6)), blue)
    regions = profiles.knots(grid, rng, young, int(rng.integers(15, 50)), 0.35)
    flux = nanomaggies(mag + rng.uniform(2.6, 3.6)) * profiles.per_survey_pixel(grid.cell**2)
    scene.add(flux * regions, (blue[0] - 0.25, blue[1] - 0.25))


def _edge_on(scene: Scene, rng: np.random.Generator, color: Color, *, thickness: float, bulge_fraction: float) -> None:
    grid, angle = scene.grid, _angle(rng)
    mag = _brightness(rng) + 0.45
    scale = rng.uniform(3.2, 5.6)
    along, height = profiles.plane(grid, axis_ratio=1.0, angle=angle)
    if rng.random() < 0.35:  # many edge-on discs are warped like an integral sign
        height = height - rng.normal(0.0, 0.035) * along * np.abs(along) / scale
    disc_flux = 1.0 - bulge_fraction
    disc = disc_flux * profiles.edge_on_disc(along, height, scale, max(thickness * scale, 0.32), mag)
    if rng.random() < 0.6:
        disc = disc * profiles.flocculence(grid, rng, 0.3 if bulge_fraction else 0.5)
    light = [(disc, color)]
    if bulge_fraction:
        size = rng.uniform(0.28, 0.42) * scale
        fainter = -2.5 * math.log10(bulge_fraction)
        bulge = _spheroid(grid, size, rng.uniform(1.2, 2.5), mag + fainter, rng.uniform(0.65, 0.95), angle)
        light.append((bulge, _bulge_color(rng)))
    lane = None
    if rng.random() < 0.45:
        offset = rng.normal(0.0, 0.25) * thickness * scale
        lane = np.exp(-0.5 * ((height - offset) / 0.35) ** 2) * np.exp(-((along / (2.2 * scale)) ** 4))
    for part, part_color in light:
        if lane is None:
            scene.add(part, part_color)
        else:  # dust dims and reddens: split each part into what passes and what is reddened
            opacity = 0.65 * lane
            scene.add(part * (1.0 - opacity), part_color)
            scene.add(part * opacity * 0.35, (part_color[0] + 0.4, part_color[1] + 0.35))


def _spheroid(
    grid: SkyGrid,
    half_light: float,
    n: float,
    magnitude: float,
    axis_ratio: float,
    angle: float,
    centre: tuple[float, float] = (0.0, 0.0),
) -> np.ndarray:
    along, across = profiles.plane(grid, axis_ratio=axis_ratio, angle=angle, centre=centre)
    return profiles.sersic(np.hypot(along, across), half_light, n, magnitude, axis_ratio)


def _tail(
    scene: Scene,
    rng: np.random.Generator,
    direction: float,
    sign: float,
    length: float,
    magnitude: float,
    color: Color,
    start: tuple[float, float] = (0.0, 0.0),
    width: float | None = None,
) -> None:
    stream = profiles.tidal_tail(
        scene.grid,
        rng,
        start=start,
        direction=direction - sign * 0.4,
        length=length,
        bend=sign * rng.uniform(0.8, 2.0),
        width=width or rng.uniform(0.5, 0.9),
        magnitude=magnitude,
    )
    scene.add(stream, color)


def _angle(rng: np.random.Generator) -> float:
    return float(rng.uniform(0.0, 2.0 * math.pi))


def _brightness(rng: np.random.Generator) -> float:
    """Draw a total r magnitude: Galaxy Zoo's galaxies are brighter than 17.77."""
    return float(np.clip(rng.normal(16.15, 0.5), 15.0, 17.4))


def _bulge_color(rng: np.random.Generator) -> Color:
    """Draw the color of old stars, reddened further by redshift and dust."""
    shift = rng.normal(0.0, 0.1)
    return 0.9 + shift, 0.68 + 0.7 * shift + rng.normal(0.0, 0.04)


def _disc_color(rng: np.random.Generator) -> Color:
    """Draw the color of young stars; gas-rich discs are bluer."""
    shift = rng.normal(0.0, 0.1)
    return 0.5 + shift, 0.36 + 0.8 * shift + rng.normal(0.0, 0.04)


def _between(one: Color, other: Color, share: float) -> Color:
    return one[0] + share * (other[0] - one[0]), one[1] + share * (other[1] - one[1])
