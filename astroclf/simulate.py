"""``astroclf simulate``: write a simulated data set, in the file formats of the real ones."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.data import SimulateConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf import simulation
    from astroclf.data.catalog import DatasetReader
    from astroclf.data.readers import folder, galaxy10
else:
    simulation = lazy_import("astroclf.simulation")  # OpenCV and h5py are imported once the configuration is sound
    folder = lazy_import("astroclf.data.readers.folder")
    galaxy10 = lazy_import("astroclf.data.readers.galaxy10")


def simulate(config: SimulateConfig, job: Job) -> None:
    """Write one simulated data set, and say what it holds."""
    output, size, threads = Path(config.output), config.image_size, config.trainer.num_workers
    reader: DatasetReader
    if config.kind == "galaxy10":
        simulation.write_galaxy10(
            output, samples=config.samples, image_size=size, seed=config.seed, num_workers=threads
        )
        reader = galaxy10.Galaxy10(output, image_size=size)
    else:
        simulation.write_astro8(
            output, samples_per_class=config.samples, image_size=size, seed=config.seed, num_workers=threads
        )
        reader = folder.ClassFolder(output, "found", size)
    print(f"{output}: {len(reader.catalog):,} images in {len(reader.catalog.classes)} classes")
    if config.contact_sheet is not None:
        print(simulation.contact_sheet(reader, Path(config.contact_sheet)))


VERB = Verb(
    "simulate",
    SimulateConfig,
    simulate,
    positional=("kind", "output"),
    interrupted="Stopped by Ctrl-C. Nothing was written.",
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
