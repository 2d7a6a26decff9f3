"""Black holes, constellations, galaxies, nebulae and stars, painted at random."""

from __future__ import annotations

import math

import cv2
import numpy as np

from astroclf.simulation.canvas import STAR_COLORS, Canvas, Rgb, bright_star, star_field
from astroclf.simulation.galaxies import observe_galaxy
from astroclf.simulation.morphologies import MORPHOLOGIES
from astroclf.simulation.telescope import color_composite
from astroclf.simulation.texture import smoothstep, stretched_noise, warp

_PHOTON_RING = math.sqrt(27.0)  # impact parameter of the photon orbit, in gravitational radii


def black_hole(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a shadow with its photon ring and accretion disc; sharp as computed, or blurred as radio telescopes see it.

    Light bending: Beloborodov 2002 (arXiv:astro-ph/0201117), eq. 3; redshift and beaming: Luminet 1979 (A&A 75, 228).
    """
    blurred = rng.random() < 0.4
    inclination = math.radians(rng.uniform(15.0, 45.0) if blurred else rng.uniform(60.0, 84.0))
    shadow = rng.uniform(0.24, 0.34) if blurred else rng.uniform(0.17, 0.26)
    turn = rng.uniform(0.0, 2 * math.pi) if blurred else rng.normal(0.0, 0.3)
    cos, sin = math.cos(turn), math.sin(turn)
    right = (canvas.u * cos + canvas.v * sin) * _PHOTON_RING / shadow
    up = -(canvas.v * cos - canvas.u * sin) * _PHOTON_RING / shadow
    impact = np.sqrt(right**2 + up**2) + 1e-3

    # The disc's azimuth seen at this place of the picture, and the angle between it and the line of sight.
    cos_psi = -math.sin(inclination) * up / np.sqrt(up**2 + right**2 * math.cos(inclination) ** 2 + 1e-6)
    cos_psi = np.clip(cos_psi, -0.999, 0.999)
    bend = (1.0 - cos_psi) / (1.0 + cos_psi)
    radius = np.sqrt(bend**2 + impact**2 / (1.0 - cos_psi**2)) - bend  # in units with Schwarzschild radius 2
    inner, outer = 6.0, rng.uniform(14.0, 20.0)
    spin = float(rng.choice((-1.0, 1.0)))
    orbital = np.maximum(radius, inner)
    shift = np.sqrt(1.0 - 3.0 / orbital) / (1.0 + spin * orbital**-1.5 * right * math.sin(inclination))
    emitted = orbital**-1.2 * smoothstep(inner - 0.3, inner + 1.5, radius) * smoothstep(outer, 0.55 * outer, radius)
    swirl = np.exp(0.3 * stretched_noise(rng, 8, 256, slope=1.4, cells=128)[4])
    lanes = np.interp(radius, np.linspace(inner, outer, 256), swirl).astype(np.float32)
    disc = 12.0 * emitted * lanes * shift**3.5
    ring = np.exp(-0.5 * ((impact - _PHOTON_RING) / 0.13) ** 2) * (1.0 - 0.6 * spin * right / impact)
    ring *= np.exp(-3.0 * emitted * orbital**1.2 * (up < 0.0))  # the near side of the disc hides part of it

    if blurred:
        crescent = np.exp(-0.5 * ((impact - 1.08 * _PHOTON_RING) / 0.9) ** 2)
        crescent *= 1.0 - rng.uniform(0.45, 0.8) * spin * right / impact
        glow = cv2.GaussianBlur((crescent + 0.15 * disc).astype(np.float32), (0, 0), 0.09 * canvas.half)
        _paint_heat(canvas, rng.uniform(0.7, 1.1) * glow, (1.0, 0.42, 0.07))
        return
    star_field(canvas, rng, count=rng.uniform(20, 120), brightest=1.0)
    canvas.light *= smoothstep(0.95, 1.15, impact / _PHOTON_RING)[..., None]  # nothing shines through the shadow
    hot: Rgb = (1.0, 0.55, 0.18) if rng.random() < 0.75 else (0.6, 0.78, 1.0)
    _paint_heat(canvas, disc, hot)
    canvas.paint(0.6 * ring, 0.5 + 0.5 * np.asarray(hot))
    glow = cv2.GaussianBlur(disc.astype(np.float32), (0, 0), 0.1 * canvas.half)
    canvas.paint(0.25 * glow, hot)
    if rng.random() < 0.2:
        for side in (-1.0, 1.0):
            height = np.maximum(side * up, 0.0) / _PHOTON_RING
            width = 0.12 + 0.08 * height
            jet = np.exp(-0.5 * (right / _PHOTON_RING / width) ** 2 - height / 2.5) * smoothstep(0.8, 1.4, height)
            canvas.paint(rng.uniform(0.15, 0.4) * jet, (0.5, 0.65, 1.0))


def constellation(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a wide star field with a figure of bright stars, mostly joined by lines."""
    night = np.array(((0.004, 0.006, 0.014), (0.008, 0.012, 0.05), (0.02, 0.04, 0.11), (0.02, 0.012, 0.05)), np.float32)
    backdrop = night[rng.integers(len(night))] * rng.uniform(0.6, 1.5)
    canvas.light += backdrop * (1.0 + rng.uniform(0.0, 0.6) * canvas.v)[..., None]
    if rng.random() < 0.3:  # the Milky Way
        angle = rng.uniform(0, math.pi)
        across = canvas.v * math.cos(angle) - canvas.u * math.sin(angle) - rng.normal(0.0, 0.3)
        clouds = np.exp(0.5 * stretched_noise(rng, canvas.height, canvas.width, slope=2.6))
        canvas.paint(0.035 * clouds * np.exp(-((across / 0.4) ** 2)), (0.85, 0.85, 1.0))
    star_field(canvas, rng, count=rng.uniform(60, 260), brightest=0.35)
    stars = _figure(canvas, rng, int(rng.integers(5, 10)))
    if rng.random() < 0.75:
        lines = np.zeros((canvas.height, canvas.width), np.float32)
        for one, other in _spanning_tree(stars):
            canvas.draw_line(lines, stars[one], stars[other], thickness=max(1, round(canvas.half / 64)))
        canvas.paint(rng.uniform(0.12, 0.4) * lines, (0.7, 0.82, 1.0))
    core = rng.uniform(0.012, 0.024)
    for u, v in stars:
        color = STAR_COLORS[rng.integers(len(STAR_COLORS))]
        bright_star(canvas, u, v, peak=rng.uniform(1.2, 3.5), core=core * rng.uniform(0.8, 1.4), color=color)
    if rng.random() < 0.2:  # photographed from the ground: trees or hills at the horizon
        skyline = stretched_noise(rng, 8, canvas.width, slope=2.2, cells=128)[4]
        ground = canvas.v > canvas.height / canvas.half / 2 - 0.25 - 0.08 * skyline[None, :]
        canvas.light[ground] *= 0.04


def galaxy(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint one of the ten galaxy morphologies, filling more of the frame than in a survey cut-out."""
    side = max(canvas.final_size)
    light_grz = observe_galaxy(int(rng.integers(len(MORPHOLOGIES))), rng, side, field_arcsec=34.0, seeing_arcsec=0.4)
    picture = cv2.resize(color_composite(light_grz), (max(canvas.height, canvas.width),) * 2)
    top, left = (picture.shape[0] - canvas.height) // 2, (picture.shape[1] - canvas.width) // 2
    shown = picture[top : top + canvas.height, left : left + canvas.width].astype(np.float32) / 255
    canvas.light += -np.log1p(-np.minimum(shown**2.2, 0.97))  # the inverse of to_display


def nebula(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint glowing gas: an emission cloud with dark lanes, a planetary nebula, or a supernova remnant's filaments."""
    kind = rng.choice(("cloud", "planetary", "remnant"), p=(0.5, 0.25, 0.25))
    if kind == "cloud":
        _emission_cloud(canvas, rng)
    elif kind == "planetary":
        _planetary(canvas, rng)
    else:
        _remnant(canvas, rng)
    star_field(canvas, rng, count=rng.uniform(30, 160), brightest=rng.uniform(0.6, 2.5))


def star(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint one bright star with halo and diffraction spikes in a field, or a survey's small cut-out round a star."""
    sky = rng.uniform(0.0, 0.015)
    canvas.light += sky
    u, v = rng.normal(0.0, 0.12, 2)
    if rng.random() < 0.25:
        seeing = rng.uniform(0.06, 0.12)
        noise = rng.standard_normal((canvas.height // 4, canvas.width // 4)).astype(np.float32)
        grain = cv2.resize(noise, (canvas.width, canvas.height), interpolation=cv2.INTER_NEAREST)
        canvas.light += 0.03 * np.maximum(1.0 + 0.4 * grain, 0.0)[..., None]
        bright_star(canvas, u, v, peak=rng.uniform(0.8, 3.0), core=seeing, color=np.ones(3))
        for _ in range(rng.poisson(0.8)):
            where = canvas.random_position(rng)
            bright_star(canvas, *where, peak=rng.uniform(0.05, 0.4), core=seeing, color=np.ones(3))
        return
    star_field(canvas, rng, count=rng.uniform(10, 150), brightest=rng.uniform(0.5, 1.5))
    bright_star(
        canvas,
        u,
        v,
        peak=rng.uniform(4.0, 12.0),
        core=rng.uniform(0.03, 0.075),
        color=STAR_COLORS[rng.integers(len(STAR_COLORS))] ** 1.5,
        spikes=int(rng.choice((4, 6))),
        spike_length=rng.uniform(0.45, 1.1),
        spike_angle=float(rng.choice((0.0, math.pi / 4, rng.uniform(0, math.pi)))),
    )


# --- parts ----------------------------------------------------------------------------------------------------------


def _paint_heat(canvas: Canvas, brightness: np.ndarray, color: Rgb) -> None:
    """Add light that turns from a deep hue to nearly white where it is strong."""
    exponents = 1.0 / np.maximum(np.asarray(color), 0.05) ** 0.5
    canvas.light += np.maximum(brightness, 0.0)[..., None] ** exponents.astype(np.float32) * np.asarray(
        color, np.float32
    )


def _figure(canvas: Canvas, rng: np.random.Generator, count: int) -> list[tuple[float, float]]:
    """Draw positions well inside the frame and well apart."""
    positions: list[tuple[float, float]] = []
    spacing = 0.45
    while len(positions) < count:
        candidate = canvas.random_position(rng, margin=0.2)
        if all(math.dist(candidate, other) > spacing for other in positions):
            positions.append(candidate)
        spacing *= 0.995  # a crowded frame must not keep us forever
    return positions


def _spanning_tree(positions: list[tuple[float, float]]) -> list[tuple[int, int]]:
    """Find the shortest lines that join all stars (Prim's algorithm): stick figures look much like that."""
    joined, edges = [0], []
    while len(joined) < len(positions):
        _, one, other = min(
            (math.dist(positions[i], positions[j]), i, j)
            for i in joined
            for j in range(len(positions))
            if j not in joined
        )
        joined.append(other)
        edges.append((one, other))
    return edges


def _emission_cloud(canvas: Canvas, rng: np.random.Generator) -> None:
    shape = canvas.height, canvas.width
    reach = 0.12 * canvas.half

    def folded(slope: float) -> np.ndarray:
        sheet = stretched_noise(rng, *shape, slope=slope, cells=128)
        return warp(
            sheet,
            reach * stretched_noise(rng, *shape, slope=3.2),
            reach * stretched_noise(rng, *shape, slope=3.2),
        )

    palettes = (
        ((1.0, 0.22, 0.25), (0.95, 0.5, 0.6), (0.25, 0.6, 0.9)),  # hydrogen red with reflected blue
        ((0.95, 0.6, 0.2), (0.75, 0.7, 0.3), (0.15, 0.55, 0.7)),  # the Hubble palette: SII, H-alpha, OIII
        ((0.35, 0.5, 1.0), (0.6, 0.7, 1.0), (0.8, 0.4, 0.6)),  # reflection nebula
        ((0.9, 0.3, 0.15), (0.6, 0.25, 0.35), (0.2, 0.7, 0.65)),
    )
    body = smoothstep(1.7, 0.2, np.hypot(canvas.u, canvas.v) + 0.35 * folded(3.4))
    for color, strength in zip(palettes[rng.integers(len(palettes))], (0.4, 0.22, 0.25), strict=True):
        gas = np.exp(0.75 * folded(3.1)) * smoothstep(-0.6, 1.2, folded(3.4))
        canvas.paint(strength * rng.uniform(0.7, 1.3) * gas * body, color)
    dust = smoothstep(0.3, 1.3, folded(2.8))
    extinction = np.exp(-dust[..., None] * rng.uniform(0.8, 2.0) * np.array((0.75, 1.0, 1.25), np.float32))
    canvas.light *= extinction
    for _ in range(rng.integers(0, 5)):  # the young stars that make it glow
        where = canvas.random_position(rng, margin=0.3)
        bright_star(canvas, *where, peak=rng.uniform(1.0, 3.0), core=0.015, color=STAR_COLORS[0])


def _planetary(canvas: Canvas, rng: np.random.Generator) -> None:
    shape = canvas.height, canvas.width
    angle, q = rng.uniform(0, math.pi), rng.uniform(0.55, 1.0)
    a = canvas.u * math.cos(angle) + canvas.v * math.sin(angle)
    b = (canvas.v * math.cos(angle) - canvas.u * math.sin(angle)) / q
    ragged = 1.0 + 0.05 * stretched_noise(rng, *shape, slope=2.8, cells=96)
    distance = np.hypot(a, b) * ragged
    bipolar = rng.random() < 0.35
    if bipolar:  # pinched at the waist
        distance = distance / (0.45 + 0.55 * np.abs(a) / (np.hypot(a, b) + 0.02))
    size = rng.uniform(0.4, 0.62)
    clumps = np.exp(0.35 * stretched_noise(rng, *shape, slope=2.4, cells=128))
    layers = (
        (0.55, 0.22, (0.2, 0.75, 0.85), 0.5),  # OIII inside
        (0.85, 0.1, (0.55, 0.9, 0.5), 0.55),
        (1.0, 0.09, (1.0, 0.3, 0.2), 0.7),  # H-alpha and NII outside
        (1.35, 0.3, (0.8, 0.2, 0.25), 0.07),  # faint halo of an older wind
    )
    for radius, width, color, strength in layers:
        wall = np.exp(-(((distance / size - radius) / width) ** 2))
        canvas.paint(strength * rng.uniform(0.6, 1.3) * wall * clumps, color)
    bright_star(canvas, 0.0, 0.0, peak=rng.uniform(1.5, 4.0), core=0.018, color=STAR_COLORS[0])


def _remnant(canvas: Canvas, rng: np.random.Generator) -> None:
    shape = canvas.height, canvas.width
    centre = rng.normal(0.0, 0.25, 2)
    size = rng.uniform(0.6, 1.1)
    distance = np.hypot(canvas.u - centre[0], canvas.v - centre[1]) / size
    shell = np.exp(-(((distance - 0.75) / 0.35) ** 2)) * smoothstep(1.2, 0.95, distance)
    reach = 0.1 * canvas.half
    for color in ((1.0, 0.28, 0.2), (0.2, 0.7, 0.8), (0.9, 0.65, 0.35)):
        sheet = stretched_noise(rng, *shape, slope=3.0, cells=128)
        sheet = warp(
            sheet, reach * stretched_noise(rng, *shape, slope=3), reach * stretched_noise(rng, *shape, slope=3)
        )
        filaments = np.exp(-np.abs(sheet) / 0.12)  # thin sheets seen edge-on: bright where the noise crosses zero
        patches = smoothstep(-0.8, 1.0, stretched_noise(rng, *shape, slope=3.4))
        canvas.paint(rng.uniform(0.35, 0.7) * (filaments + 0.06) * patches * shell, color)
