"""``python -m astroclf.simulate``: write a simulated data set, in the file formats of the real ones."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from astroclf.errors import AstroclfError

_EPILOG = """examples:
  python -m astroclf.simulate galaxy10 galaxies.h5 --samples 5000 --image-size 128
  python -m astroclf.train dataset=galaxy10 dataset.path=galaxies.h5 dataset.image_size=128

  python -m astroclf.simulate astro8 sky --samples 100 --contact-sheet sky.png
  python -m astroclf.train dataset=astro8 dataset.path=sky dataset.image_size=128

dataset=galaxy10_sim and dataset=astro8_sim simulate by themselves; this command is for files of your own.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, simulate, print what was written; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _simulate(options)
    except AstroclfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted: nothing was written.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m astroclf.simulate",
        description=__doc__.split(": ", 1)[1] if __doc__ else None,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    kinds = parser.add_subparsers(dest="kind", required=True, metavar="{galaxy10,astro8}")
    galaxy10 = kinds.add_parser(
        "galaxy10", help="ten galaxy morphologies as one HDF5 file, laid out like Galaxy10_DECals.h5"
    )
    galaxy10.add_argument("output", type=Path, metavar="OUT.h5", help="the file to write; it must not exist")
    galaxy10.add_argument("--samples", type=int, default=2400, help="galaxies in all (default %(default)s)")
    galaxy10.add_argument("--image-size", type=int, default=64, help="side in pixels (default %(default)s)")
    astro8 = kinds.add_parser("astro8", help="eight kinds of sky objects as JPEG, PNG and FITS files in class folders")
    astro8.add_argument("output", type=Path, metavar="FOLDER", help="the folder to make; it must not exist")
    astro8.add_argument("--samples", type=int, default=150, help="files in each class folder (default %(default)s)")
    astro8.add_argument("--image-size", type=int, default=128, help="about the longest side (default %(default)s)")
    for kind in (galaxy10, astro8):
        kind.add_argument("--seed", type=int, default=0, help="same seed, same files (default %(default)s)")
        kind.add_argument(
            "--workers",
            type=int,
            dest="num_workers",
            help="threads (default: one a core); the files do not depend on it",
        )
        kind.add_argument("--contact-sheet", type=Path, metavar="PNG", help="also draw ten examples of each class")
    return parser


def _simulate(options: argparse.Namespace) -> None:
    # Imported late, so that --help and a mistyped option answer at once.
    from astroclf import simulation as simulate
    from astroclf.data.catalog import DatasetReader
    from astroclf.data.readers.folder import ClassFolder
    from astroclf.data.readers.galaxy10 import Galaxy10

    sizes = {"image_size": options.image_size, "seed": options.seed, "num_workers": options.num_workers}
    reader: DatasetReader
    if options.kind == "galaxy10":
        simulate.write_galaxy10(options.output, samples=options.samples, **sizes)
        reader = Galaxy10(options.output, image_size=options.image_size)
    else:
        simulate.write_astro8(options.output, samples_per_class=options.samples, **sizes)
        reader = ClassFolder(options.output, "found", options.image_size)
    print(f"{options.output}: {len(reader.catalog):,} images in {len(reader.catalog.classes)} classes")
    if options.contact_sheet:
        print(simulate.contact_sheet(reader, options.contact_sheet))


if __name__ == "__main__":
    sys.exit(main())
