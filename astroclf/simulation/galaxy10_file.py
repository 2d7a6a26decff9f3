"""A Galaxy10 DECaLS file of simulated galaxies, laid out like the official one."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from astroclf.data.readers.array_files import SIMULATED
from astroclf.data.readers.editions import DECALS
from astroclf.errors import DataError
from astroclf.simulation.galaxies import FIELD_ARCSEC, draw_galaxy
from astroclf.util.atomic import atomic_path
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

_CHUNKS = (555, 16, 16, 1)  # of the official file
_SMALLEST_IMAGE = 16


def write_galaxy10(
    path: str | Path,
    *,
    samples: int,
    image_size: int,
    seed: int,
    progress: bool = True,
    num_workers: int | None = None,
) -> Path:
    """Simulate galaxies into an HDF5 file with the datasets, types and chunks of ``Galaxy10_DECals.h5``.

    Like the official file it is sorted by class; the classes share the samples equally. Galaxy *i* is a function of
    (seed, i) and the sizes alone, whatever the number of workers.

    Parameters
    ----------
    path
        The file to write. It appears when it is complete, and must not exist before.
    samples
        Galaxies in all, at least one per class.
    image_size
        Side of the square images, pixels. The field of view stays the same.

    Returns
    -------
    Path
        The file written: ``images`` (N, S, S, 3) u1, ``ans`` (N,) u1, ``ra``, ``dec`` (degrees), ``redshift`` and
        ``pxscale`` (arcsec per pixel), all (N,) f8, and ``simulated`` (N,) u1, which is 1.

    Raises
    ------
    DataError
        The file exists, or the sizes make no data set.
    AstroclfError
        The disk is full or the folder cannot be written to.
    """
    path = Path(path)
    _check(path, samples, image_size)
    labels = np.arange(samples) * len(DECALS.classes) // samples

    def draw(row: int) -> np.ndarray:
        return draw_galaxy(int(labels[row]), np.random.default_rng([seed, row]), image_size)

    bar = ProgressBar(f"Simulating galaxies of {image_size} px", samples, enabled=progress)
    with bar, atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        shape = (samples, image_size, image_size, 3)
        chunks = tuple(min(chunk, length) for chunk, length in zip(_CHUNKS, shape, strict=True))
        images = file.create_dataset("images", shape, "u1", chunks=chunks, compression="gzip")
        slab = np.empty((chunks[0], image_size, image_size, 3), np.uint8)
        drawn = run_ahead(draw, range(samples), num_workers or available_cores())
        for row, image in enumerate(bar.count(drawn)):
            slab[row % len(slab)] = image
            # Whole chunks at a time: a chunk written in parts is decompressed and compressed again for each part.
            if (row + 1) % len(slab) == 0 or row + 1 == samples:
                first = row - row % len(slab)
                images[first : row + 1] = slab[: row + 1 - first]
        file["ans"] = labels.astype(np.uint8)
        for name, column in _sky_columns(samples, image_size, seed).items():
            file[name] = column
    return path


def _check(path: Path, samples: int, image_size: int) -> None:
    if path.exists():
        raise DataError(f"{path} exists already and is not overwritten: delete it first, or name another file.")
    if samples < len(DECALS.classes):
        raise DataError(
            f"samples={samples} is too few for Galaxy10: ask for {len(DECALS.classes)} or more, one a class at least."
        )
    if image_size < _SMALLEST_IMAGE:
        raise DataError(f"image_size={image_size} shows no galaxy: use {_SMALLEST_IMAGE} pixels or more (default 64).")


def _sky_columns(samples: int, image_size: int, seed: int) -> dict[str, np.ndarray]:
    """Draw redshifts, and positions spread evenly over the survey's footprint (galactic caps, -18 to +34 degrees).

    The official file has no column `simulated`: with it, nobody is sent to a place on the sky where nothing is.
    """
    rng = np.random.default_rng([seed, samples, 0x5EED])
    north = rng.random(samples) < 0.6
    ra = np.where(north, rng.uniform(110.0, 260.0, samples), rng.uniform(-45.0, 60.0, samples) % 360.0)
    sin_dec = np.where(
        north,
        rng.uniform(np.sin(np.radians(-8.0)), np.sin(np.radians(34.0)), samples),
        rng.uniform(np.sin(np.radians(-18.0)), np.sin(np.radians(30.0)), samples),
    )
    return {
        "ra": ra,
        "dec": np.degrees(np.arcsin(sin_dec)),
        "redshift": np.clip(rng.lognormal(-2.7, 0.5, samples), 0.005, 0.25),
        "pxscale": np.full(samples, FIELD_ARCSEC / image_size),
        SIMULATED: np.ones(samples, np.uint8),
    }
