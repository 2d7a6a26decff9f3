"""Memory of decoding one large image: the peak beyond what the imports take, of each format. Linux only.

    python benchmarks/memory.py [--side 8192] [--json FILE]

The images are nearly empty, as mosaics of a survey's edge are: a compressed file of 1 MB holds 256 MB of numbers. Each
is decoded in a process of its own.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import astropy.visualization
import numpy as np
import tifffile
from astropy.io import fits

from astroclf.data.decode.images import decode_file

ROOT = Path(__file__).parents[1]
MEGA = 2**20


def write_files(folder: Path, side: int) -> list[Path]:
    """Write one image in each format."""
    values = np.zeros((side, side), np.float32)
    values[::512, ::512] = 100
    values[:64, :64] = np.random.default_rng(0).normal(0, 1, (64, 64))
    plain = folder / "plain.fits"
    fits.PrimaryHDU(values).writeto(plain)
    with gzip.open(folder / "packed.fits.gz", "wb", compresslevel=1) as packed:
        packed.write(plain.read_bytes())
    np.save(folder / "array.npy", values)
    tifffile.imwrite(folder / "deflated.tif", values, compression="zlib", rowsperstrip=64)
    return sorted(folder.iterdir())


def measure(path: Path) -> None:
    """Decode one file, and print the peak beyond the memory at the start, in MB, and the seconds."""
    before, start = peak_mb(), time.perf_counter()
    decode_file(path)
    print(json.dumps({"peak_mb": round(peak_mb() - before), "seconds": round(time.perf_counter() - start, 1)}))


def peak_mb() -> float:
    """The most memory that this process had so far; `getrusage` would count that of the process that started it."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=8192, help="pixels (%(default)s)")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "memory.json")
    parser.add_argument("--decode", type=Path, help="decode this file alone, in this process")
    options = parser.parse_args()
    if options.decode:
        measure(options.decode)
        return
    numbers_mb = 4 * options.side**2 / MEGA
    found: dict[str, dict[str, float]] = {}
    print(f"{options.side} x {options.side} numbers of 32 bits: {numbers_mb:.0f} MB")
    with TemporaryDirectory() as folder:
        for path in write_files(Path(folder), options.side):
            command = [sys.executable, __file__, "--decode", str(path)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[path.name] = json.loads(done.stdout)
            print(f"{path.name:<16}{path.stat().st_size / MEGA:>7.1f} MB on disk  {found[path.name]}")
    record = {
        "side": options.side,
        "numbers_mb": numbers_mb,
        "files": found,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "versions": {"numpy": np.__version__, "astropy": astropy.__version__, "tifffile": tifffile.__version__},
    }
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
