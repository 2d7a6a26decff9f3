"""Simulated data sets as readers: made on first use, kept in the cache, then read as the real ones are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from astroclf.data.cache.simulated import simulate_once
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.settings.reading import ReadSettings
from astroclf.simulation import SIMULATOR_VERSION, write_astro8, write_galaxy10
from astroclf.simulation.sky_folder import SKY_CLASSES


class Galaxy10Sim(Galaxy10):
    """`Galaxy10` with simulated galaxies; needs no download.

    Parameters
    ----------
    samples
        Galaxies in all ten classes together.
    image_size
        Side of the images in pixels, both in the file and prepared.
    seed
        Of the simulation: the same seed gives the same file, to the byte.
    cache_dir
        The file is kept below it, in ``simulated/``.
    classes, exclude_classes, channels
        As in `Galaxy10`.
    """

    def __init__(
        self,
        samples: int = 2400,
        image_size: int = 64,
        seed: int = 0,
        cache_dir: str | Path = "~/.cache/astroclf",
        classes: Sequence[str] | None = None,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
    ) -> None:
        settings = {"samples": samples, "image_size": image_size, "seed": seed, "version": SIMULATOR_VERSION}
        path = simulate_once(
            cache_dir,
            "galaxy10",
            settings,
            "Galaxy10_simulated.h5",
            lambda file: write_galaxy10(file, samples=samples, image_size=image_size, seed=seed),
        )
        super().__init__(
            path, image_size=image_size, classes=classes, exclude_classes=exclude_classes, channels=channels
        )


class Astro8Sim(ClassFolder):
    """`ClassFolder` with simulated sky objects; needs no download.

    Parameters
    ----------
    samples_per_class
        Files in each of the eight class folders.
    image_size
        Side of the prepared images in pixels; the files are between 0.8 and 1.5 times as long.
    seed
        Of the simulation: the same seed gives the same files, to the byte.
    cache_dir
        The files are kept below it, in ``simulated/``.
    classes, exclude_classes, channels, reading
        As in `ClassFolder`.
    """

    def __init__(
        self,
        samples_per_class: int = 150,
        image_size: int = 128,
        seed: int = 0,
        cache_dir: str | Path = "~/.cache/astroclf",
        classes: Sequence[str] | str = SKY_CLASSES,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
        reading: ReadSettings | None = None,
    ) -> None:
        settings = {
            "samples_per_class": samples_per_class,
            "image_size": image_size,
            "seed": seed,
            "version": SIMULATOR_VERSION,
        }
        path = simulate_once(
            cache_dir,
            "astro8",
            settings,
            "sky_objects",
            lambda folder: write_astro8(folder, samples_per_class=samples_per_class, image_size=image_size, seed=seed),
        )
        super().__init__(path, classes, image_size, exclude_classes=exclude_classes, channels=channels, reading=reading)
