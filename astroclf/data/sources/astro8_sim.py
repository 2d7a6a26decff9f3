"""Simulated sky objects: eight classes as JPEG, PNG and FITS files in class folders, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from astroclf.data.simulate import SIMULATOR_VERSION, write_astro8
from astroclf.data.simulate.cached import simulate_once
from astroclf.data.simulate.sky_folder import CLASSES
from astroclf.data.sources.folder import ClassFolder


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
    classes, exclude_classes, channels, fits
        As in `ClassFolder`.
    """

    def __init__(
        self,
        samples_per_class: int = 150,
        image_size: int = 128,
        seed: int = 0,
        cache_dir: str | Path = "~/.cache/astroclf",
        classes: Sequence[str] | str = CLASSES,
        exclude_classes: Sequence[str] = (),
        channels: int = 3,
        fits: dict[str, Any] | None = None,
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
        super().__init__(path, classes, image_size, exclude_classes=exclude_classes, channels=channels, fits=fits)
