"""Simulated Galaxy10: ten galaxy morphologies in the official file layout, made on first use."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from astroclf.data.simulate import SIMULATOR_VERSION, write_galaxy10
from astroclf.data.simulate.cached import simulate_once
from astroclf.data.sources.galaxy10 import Galaxy10


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
