"""Asteroids, comets and planets, painted at random."""

from __future__ import annotations

import math

import cv2
import numpy as np

from astroclf.simulation.canvas import Canvas, Rgb, star_field
from astroclf.simulation.texture import smoothstep, stretched_noise


def asteroid(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a cratered, irregular body lit from one side; or the trail that one leaves among the stars."""
    if rng.random() < 0.25:
        _asteroid_trail(canvas, rng)
        return
    star_field(canvas, rng, count=float(rng.choice((0.0, 12.0, 30.0))), brightest=0.4, colorful=0.3)
    size = rng.uniform(0.45, 0.75)
    relief = _lump(canvas, rng, (0.0, 0.0), size)
    if rng.random() < 0.25:  # a contact binary, like Arrokoth
        turn = rng.uniform(0, 2 * math.pi)
        small = 0.6 * size
        relief = 0.8 * relief
        centre = (0.85 * size * math.cos(turn), 0.85 * size * math.sin(turn))
        relief = np.maximum(relief, _lump(canvas, rng, centre, small))
    inside = relief > 0
    ground = (
        relief
        + _craters(canvas, rng, size)
        + 0.012 * size * stretched_noise(rng, canvas.height, canvas.width, slope=2.2)
    )
    lit = _lambert(canvas, np.where(inside, ground, 0.0), _light_direction(rng, rng.uniform(35.0, 75.0)))
    albedo = 1.0 + 0.12 * stretched_noise(rng, canvas.height, canvas.width, slope=2.0)
    tint = (1.0, rng.uniform(0.88, 1.0), rng.uniform(0.75, 0.98))
    canvas.light[inside] = 0.0
    canvas.paint(rng.uniform(0.45, 0.9) * inside * albedo * np.maximum(lit, 0.004), tint)


def comet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a coma with a broad, curved dust tail and a straight, blue ion tail."""
    star_field(canvas, rng, count=rng.uniform(40, 220), brightest=rng.uniform(0.5, 2.0))
    glow = rng.uniform(0.0, 0.03)
    canvas.light += glow * np.array((0.5, 0.7, 1.0), np.float32)
    direction = rng.uniform(0.0, 2 * math.pi)
    reach = rng.uniform(0.35, 0.75)
    head_u, head_v = -reach * math.cos(direction), -reach * math.sin(direction)
    du, dv = canvas.u - head_u, canvas.v - head_v
    along = du * math.cos(direction) + dv * math.sin(direction)
    across = dv * math.cos(direction) - du * math.sin(direction)
    distance = np.sqrt(du**2 + dv**2)

    coma = rng.uniform(0.08, 0.2)
    green = rng.uniform(0.0, 1.0)
    coma_color = (1.0 - 0.6 * green, 1.0, 0.9 - 0.25 * green)
    canvas.paint(
        rng.uniform(0.5, 1.2) * np.exp(-distance / coma) * (0.35 * coma) / (distance + 0.35 * coma), coma_color
    )
    canvas.paint(3.0 * np.exp(-0.5 * (distance / (0.16 * coma)) ** 2), (1.0, 1.0, 0.95))

    behind = smoothstep(-0.25 * coma, 0.8 * coma, along)
    downstream = np.maximum(along, 0.0)
    streaks = stretched_noise(rng, 8, 256, slope=1.5, cells=256)[4]
    if rng.random() < 0.85:  # dust lags behind on its orbit, so its tail bends
        bend = rng.normal(0.0, 0.22)
        width = 0.5 * coma + rng.uniform(0.12, 0.3) * downstream
        offset = (across - bend * downstream**2) / width
        fan = 1.0 + 0.25 * np.interp(offset, np.linspace(-3, 3, 256), streaks).astype(np.float32)
        dust = behind * np.exp(-0.5 * offset**2) * np.exp(-downstream / rng.uniform(0.5, 1.1)) * coma / width
        canvas.paint(rng.uniform(0.5, 1.0) * dust * fan, (1.0, rng.uniform(0.84, 0.95), rng.uniform(0.6, 0.85)))
    if rng.random() < 0.7:  # ions follow the solar wind
        width = 0.2 * coma + 0.03 * downstream
        tilt = rng.normal(0.0, 0.08)
        offset = (across - tilt * downstream) / width
        rays = 1.0 + 0.5 * np.interp(offset, np.linspace(-3, 3, 256), streaks[::-1]).astype(np.float32)
        ions = behind * np.exp(-0.5 * offset**2) * np.exp(-downstream / rng.uniform(0.7, 1.5))
        canvas.paint(rng.uniform(0.12, 0.3) * ions * np.maximum(rays, 0.1), (0.45, 0.7, 1.0))


def planet(canvas: Canvas, rng: np.random.Generator) -> None:
    """Paint a limb-darkened globe with its phase: a banded, ringed or ice giant, a cratered, desert or ocean world."""
    star_field(canvas, rng, count=float(rng.choice((0.0, 8.0, 40.0))), brightest=0.5)
    kind = rng.choice(("banded", "ringed", "ice", "rocky", "desert", "ocean"), p=(0.24, 0.2, 0.1, 0.18, 0.14, 0.14))
    radius = rng.uniform(0.42, 0.56) if kind == "ringed" else rng.uniform(0.5, 0.85)
    tilt = rng.normal(0.0, 0.35)
    x = (canvas.u * math.cos(tilt) + canvas.v * math.sin(tilt)) / radius
    y = (canvas.v * math.cos(tilt) - canvas.u * math.sin(tilt)) / radius
    squared = x**2 + y**2
    z = np.sqrt(np.maximum(1.0 - squared, 0.0))
    disc = smoothstep(1.0, 1.0 - 2.5 / (radius * canvas.half), np.sqrt(squared))

    surface = _surface(canvas, rng, str(kind), x, y, z)
    to_sun = _light_direction(rng, rng.uniform(0.0, 75.0))
    cos_sun = x * to_sun[0] + y * to_sun[1] + z * to_sun[2]
    if kind == "rocky":
        cos_sun = _lambert(canvas, radius * z + _craters(canvas, rng, radius), to_sun)
    shade = np.maximum(cos_sun, 0.0) ** 0.85 * (0.35 + 0.65 * z**0.5)
    canvas.light *= 1.0 - disc[..., None]
    canvas.light += (disc * (shade + 0.004))[..., None] * surface * rng.uniform(0.7, 1.1)
    if kind == "ocean":  # the air scatters blue light at the limb
        air = np.exp(-(((np.sqrt(squared) - 1.0) / 0.05) ** 2)) * np.maximum(x * to_sun[0] + y * to_sun[1] + 0.3, 0.0)
        canvas.paint(0.35 * air, (0.35, 0.6, 1.0))
    if kind == "ringed":
        _rings(canvas, rng, x, y, disc)
    for _ in range(int(rng.choice((0, 0, 1, 3)))):
        moon_u, moon_v = canvas.random_position(rng, margin=0.1)
        canvas.paint(0.8 * np.exp(-((canvas.u - moon_u) ** 2 + (canvas.v - moon_v) ** 2) / 0.02**2), (1.0, 0.97, 0.9))


# --- parts ----------------------------------------------------------------------------------------------------------


def _asteroid_trail(canvas: Canvas, rng: np.random.Generator) -> None:
    star_field(canvas, rng, count=rng.uniform(40, 120), brightest=rng.uniform(0.8, 2.0), colorful=0.15)
    start_u, start_v = canvas.random_position(rng, margin=0.55)
    angle, length = rng.uniform(0.0, 2 * math.pi), rng.uniform(0.5, 1.0)
    end = (start_u + length * math.cos(angle), start_v + length * math.sin(angle))
    streak = np.zeros((canvas.height, canvas.width), np.float32)
    canvas.draw_line(streak, (start_u, start_v), end, thickness=2)
    canvas.paint(rng.uniform(0.6, 1.4) * cv2.GaussianBlur(streak, (0, 0), 1.2), (1.0, 1.0, 0.97))
    sky = rng.uniform(0.01, 0.03)
    canvas.light += sky + 0.25 * sky * rng.standard_normal(streak.shape).astype(np.float32)[..., None]


def _lump(canvas: Canvas, rng: np.random.Generator, centre: tuple[float, float], size: float) -> np.ndarray:
    """Draw the height map of an irregular body; zero outside its outline."""
    du, dv = canvas.u - centre[0], canvas.v - centre[1]
    angle = np.arctan2(dv, du)
    outline = np.full_like(angle, 1.0)
    for order, strength in ((2, 0.2), (3, 0.08), (4, 0.05), (5, 0.035), (7, 0.02), (11, 0.01)):
        outline += rng.normal(0.0, strength) * np.cos(order * angle + rng.uniform(0, 2 * math.pi))
    outline = np.clip(outline, 0.5, 1.35) * size
    return 0.75 * size * np.sqrt(np.maximum(1.0 - (du**2 + dv**2) / outline**2, 0.0))


def _craters(canvas: Canvas, rng: np.random.Generator, size: float) -> np.ndarray:
    """Draw bowls with raised rims, small ones the most, foreshortened towards the limb like the ground they lie in."""
    relief = np.zeros_like(canvas.u)
    for _ in range(int(rng.integers(18, 45))):
        distance, turn = size * math.sqrt(rng.random()), rng.uniform(0, 2 * math.pi)
        radius = min(0.045 * size * (1.0 - rng.random()) ** (-1 / 1.7), 0.38 * size)
        squeeze = math.sqrt(max(1.0 - (distance / size) ** 2, 0.08))
        du = canvas.u - distance * math.cos(turn)
        dv = canvas.v - distance * math.sin(turn)
        radial = (du * math.cos(turn) + dv * math.sin(turn)) / squeeze
        lateral = dv * math.cos(turn) - du * math.sin(turn)
        d = np.sqrt(radial**2 + lateral**2) / radius
        bowl = np.where(d < 1.0, d**2 - 1.0, 0.0)
        rim = np.exp(-(((d - 1.05) / 0.18) ** 2))
        relief += 0.28 * radius * (bowl + 0.35 * rim)
    return relief


def _light_direction(rng: np.random.Generator, phase_deg: float) -> tuple[float, float, float]:
    """Draw a unit vector to the sun (right, down, towards us) for a phase angle: 0 is full, 90 half."""
    turn, phase = rng.uniform(0, 2 * math.pi), math.radians(phase_deg)
    return math.sin(phase) * math.cos(turn), math.sin(phase) * math.sin(turn), math.cos(phase)


def _lambert(canvas: Canvas, height: np.ndarray, to_sun: tuple[float, float, float]) -> np.ndarray:
    """Compute the diffuse light on a height map (in half lengths of the shorter side)."""
    slope_v, slope_u = np.gradient(height, np.float32(1.0 / canvas.half))
    normal_length = np.sqrt(1.0 + slope_u**2 + slope_v**2)
    return np.maximum((-slope_u * to_sun[0] - slope_v * to_sun[1] + to_sun[2]) / normal_length, 0.0)


def _surface(
    canvas: Canvas, rng: np.random.Generator, kind: str, x: np.ndarray, y: np.ndarray, z: np.ndarray
) -> np.ndarray:
    """Draw the colors of a globe, (H, W, 3)."""
    latitude = np.arcsin(np.clip(y, -1.0, 1.0))
    longitude = np.arctan2(x, np.maximum(z, 1e-3))
    terrain = stretched_noise(rng, 256, 256, slope=3.0, cells=128)
    column = (longitude / math.pi + 0.5).astype(np.float32) * 255
    row = (latitude / math.pi + 0.5).astype(np.float32) * 255
    ground = cv2.remap(terrain, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    if kind in ("banded", "ringed", "ice"):
        flow = latitude + (0.02 if kind == "banded" else 0.008) * ground
        bands = stretched_noise(rng, 8, 256, slope=1.6, cells=64)[4]
        tone = np.interp(flow, np.linspace(-1.6, 1.6, 256), np.clip(0.5 + 0.35 * bands, 0, 1)).astype(np.float32)
        dark, pale = {
            "banded": (_jitter(rng, (0.5, 0.27, 0.14)), _jitter(rng, (1.0, 0.86, 0.68))),
            "ringed": (_jitter(rng, (0.72, 0.52, 0.3)), _jitter(rng, (1.0, 0.87, 0.62))),
            "ice": (_jitter(rng, (0.2, 0.45, 0.75)), _jitter(rng, (0.3, 0.6, 0.8))),
        }[kind]
        colors = _blend(dark, pale, tone)
        if kind == "banded" and rng.random() < 0.5:  # a great red spot
            spot = ((longitude - rng.uniform(-0.6, 0.6)) / 0.28) ** 2 + (
                (latitude - rng.choice((-0.35, 0.35))) / 0.14
            ) ** 2
            colors = colors + np.exp(-(spot**2))[..., None] * (np.array((0.75, 0.25, 0.12), np.float32) - colors)
        return colors
    if kind == "rocky":
        grey = rng.uniform(0.45, 0.8)
        maria = smoothstep(-0.2, 0.8, ground)
        return _blend(_jitter(rng, (grey, 0.95 * grey, 0.88 * grey)), (0.5 * grey, 0.48 * grey, 0.46 * grey), maria)
    caps = smoothstep(1.15, 1.35, np.abs(latitude) + 0.06 * ground)[..., None]
    if kind == "desert":
        colors = _blend(_jitter(rng, (0.85, 0.4, 0.18)), (0.35, 0.17, 0.1), smoothstep(0.0, 1.2, ground))
        return colors + caps * (np.array((0.95, 0.92, 0.9), np.float32) - colors)
    land = _blend((0.16, 0.3, 0.1), (0.5, 0.4, 0.22), smoothstep(0.6, 1.6, ground))
    coast = smoothstep(0.15, 0.3, ground)[..., None]
    colors = coast * land + (1 - coast) * np.array((0.04, 0.13, 0.38), np.float32)
    weather = stretched_noise(rng, 256, 256, slope=2.4, cells=160)
    clouds = smoothstep(0.4, 1.6, cv2.remap(weather, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT))
    white = np.maximum(clouds[..., None], caps)
    return colors + 0.9 * white * (1.0 - colors)


def _rings(canvas: Canvas, rng: np.random.Generator, x: np.ndarray, y: np.ndarray, disc: np.ndarray) -> None:
    """Paint rings in the equator's plane: hidden behind the globe on the far side, in front of it on the near side."""
    opening = rng.uniform(0.14, 0.45)
    radius = np.sqrt(x**2 + (y / opening) ** 2)
    inner, outer = 1.3, rng.uniform(1.75, 2.05)
    grooves = 0.75 + 0.25 * stretched_noise(rng, 8, 256, slope=1.2, cells=128)[4]
    profile = np.interp(radius, np.linspace(inner, outer, 256), np.clip(grooves, 0.1, 1.2)).astype(np.float32)
    profile *= smoothstep(inner - 0.03, inner + 0.03, radius) * smoothstep(outer + 0.03, outer - 0.03, radius)
    profile *= 1.0 - 0.85 * np.exp(-(((radius - 0.72 * outer - 0.28 * inner) / 0.035) ** 2))  # Cassini's division
    visible = profile * np.where(y > 0, 1.0, 1.0 - disc)
    canvas.light *= 1.0 - 0.7 * visible[..., None]
    canvas.paint(0.55 * visible, (1.0, 0.9, 0.72))


def _jitter(rng: np.random.Generator, color: Rgb) -> Rgb:
    red, green, blue = np.clip(np.asarray(color) * rng.normal(1.0, 0.1, 3), 0.02, 1.0)
    return float(red), float(green), float(blue)


def _blend(one: Rgb, other: Rgb, share: np.ndarray) -> np.ndarray:
    first, second = np.asarray(one, np.float32), np.asarray(other, np.float32)
    return first + share[..., None].astype(np.float32) * (second - first)
