"""Class-named folders of simulated sky objects, as the mix of file formats, modes and sizes that people really have."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from astropy.io import fits

from astroclf.errors import DataError
from astroclf.simulation import deep_sky, solar_system
from astroclf.simulation.canvas import Canvas, to_display
from astroclf.util.atomic import atomic_path
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

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

SKY_CLASSES = tuple(PAINTERS)
"""Folder names, in label order."""

_SMALLEST_IMAGE = 32


def write_astro8(
    folder: str | Path,
    *,
    samples_per_class: int,
    image_size: int,
    seed: int,
    progress: bool = True,
    num_workers: int | None = None,
) -> Path:
    """Simulate eight kinds of sky objects into ``<folder>/<class>/<number>.<jpg|png|fits>``.

    Formats take turns within each class: JPEG; PNG in color, grey, 16-bit and with transparency; FITS as scaled
    16-bit integers, floats, and color cubes. Longest sides lie between 0.8 and 1.5 times `image_size`, with aspect
    ratios up to 3:2. A file is a function of (seed, class, number) and `image_size` alone.

    Parameters
    ----------
    folder
        The folder to make. It appears when it is complete, and must not exist before (an empty one may).

    Returns
    -------
    Path
        The folder written.

    Raises
    ------
    DataError
        The folder exists and holds files, or the sizes make no data set.
    AstroclfError
        The disk is full or the place cannot be written to.
    """
    folder = Path(folder)
    _check(folder, samples_per_class, image_size)
    files = samples_per_class * len(SKY_CLASSES)
    bar = ProgressBar(f"Simulating sky objects of about {image_size} px", files, enabled=progress)
    with bar, atomic_path(folder) as temporary:
        for name in SKY_CLASSES:
            (temporary / name).mkdir(parents=True)

        def make(index: int) -> None:
            label, number = divmod(index, samples_per_class)
            rng = np.random.default_rng([seed, label, number])
            _write_one(temporary / SKY_CLASSES[label], number, label, rng, image_size)

        for _ in bar.count(run_ahead(make, range(files), num_workers or available_cores())):
            pass
    return folder


def draw_sky_object(name: str, rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw one picture of a class in linear light, (height, width, 3) float32; `to_display` makes it viewable."""
    canvas = Canvas(height, width)
    PAINTERS[name](canvas, rng)
    return canvas.finish(rng, grain=float(rng.uniform(0.002, 0.012)))


def _check(folder: Path, samples_per_class: int, image_size: int) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder} exists already and is not overwritten: delete it first, or name another folder.")
    if samples_per_class < 1:
        raise DataError(f"samples_per_class={samples_per_class} makes no data set: ask for one or more.")
    if image_size < _SMALLEST_IMAGE:
        raise DataError(f"image_size={image_size} shows no sky object: use {_SMALLEST_IMAGE} pixels or more.")


def _write_one(folder: Path, number: int, label: int, rng: np.random.Generator, image_size: int) -> None:
    longest = image_size * rng.uniform(0.8, 1.5)
    shortest = longest * rng.uniform(0.67, 1.0)
    height, width = (longest, shortest) if rng.random() < 0.35 else (shortest, longest)
    light = draw_sky_object(SKY_CLASSES[label], rng, round(height), round(width))
    write = _FORMATS[(number + label) % len(_FORMATS)]
    write(folder / f"{number:05d}", light, rng)


# --- file formats; each takes a path without suffix and linear light (H, W, 3) --------------------------------------


def _jpeg(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 96))]
    _save(path.with_suffix(".jpg"), _bgr(to_display(light) * 255).astype(np.uint8), quality)


def _png_color(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    _save(path.with_suffix(".png"), _bgr(to_display(light) * 255).astype(np.uint8))


def _png_grey(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    _save(path.with_suffix(".png"), (to_display(_grey(light)) * 255).astype(np.uint8))


def _png_16_bit(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    _save(path.with_suffix(".png"), (to_display(_grey(light)) * 65535).astype(np.uint16))


def _png_transparent(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    """Write RGBA whose border fades out, as pictures cut out for the web have it."""
    height, width = light.shape[:2]
    opaque = np.zeros((height, width), np.uint8)
    edge = max(2, min(height, width) // 24)
    opaque[edge:-edge, edge:-edge] = 255
    color = (to_display(light) * 255).astype(np.uint8)
    _save(path.with_suffix(".png"), np.dstack([_bgr(color), cv2.blur(opaque, (edge, edge))]))


def _fits_integer(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    """Write 16-bit integers with BSCALE and BZERO, the way most archives keep counts."""
    counts = _counts(_grey(light), rng)
    hdu = fits.PrimaryHDU(counts)
    hdu.scale("int16", "minmax")
    _save_fits(path, hdu)


def _fits_float(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    _save_fits(path, fits.PrimaryHDU(_counts(_grey(light), rng)))


def _fits_cube(path: Path, light: np.ndarray, rng: np.random.Generator) -> None:
    """Write three planes (red, green, blue) of floats."""
    _save_fits(path, fits.PrimaryHDU(_counts(light, rng).transpose(2, 0, 1).copy()))


_FORMATS: tuple[Callable[[Path, np.ndarray, np.random.Generator], None], ...] = (
    _jpeg,
    _png_color,
    _fits_integer,
    _jpeg,
    _png_grey,
    _jpeg,
    _fits_float,
    _png_transparent,
    _jpeg,
    _png_16_bit,
    _fits_cube,
)


def _grey(light: np.ndarray) -> np.ndarray:
    return light @ np.array((0.299, 0.587, 0.114), np.float32)


def _bgr(image: np.ndarray) -> np.ndarray:
    return image[..., ::-1]


def _counts(light: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw detector counts: exposure, sky level and photon noise; FITS rows run upward."""
    full_scale, sky = np.exp(rng.uniform(np.log(300.0), np.log(4_000.0))), rng.uniform(100.0, 1_000.0)
    counts = rng.poisson(np.minimum(light, 5.0) * full_scale + sky)
    return counts[::-1].astype(np.float32)


def _save(path: Path, image: np.ndarray, options: list[int] | None = None) -> None:
    encoded = cv2.imencode(path.suffix, np.ascontiguousarray(image), options or [])[1]
    # Written by Python, not by OpenCV: a full disk is then an error that says so.
    path.write_bytes(encoded.tobytes())


def _save_fits(path: Path, hdu: fits.PrimaryHDU) -> None:
    hdu.header["OBJECT"] = (path.parent.name, "simulated")
    hdu.header["BUNIT"] = "count"
    hdu.writeto(path.with_suffix(".fits"))
