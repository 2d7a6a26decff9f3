"""Images per second out of a store, beside decoding them each time: Galaxy10's official file layout, and large JPEGs.

    python benchmarks/store.py [--galaxy10 FILE] [--folder FOLDER] [--rounds 5] [--json FILE]

Wall-clock, with all cores that this process may use. In every round all contenders take their turn, so that what else
runs on the machine disturbs all alike; the median over the rounds is shown. Without a file and a folder of your own,
galaxies and sky objects are simulated: 1,110 of 256 px in the chunks of Galaxy10_DECals.h5, and 64 JPEGs of 1600 px,
prepared to 1280.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import cv2
import h5py
import numpy as np
from PIL import Image

from astroclf.data.cache.image_cache import open_image_cache
from astroclf.data.cache.packed import Images
from astroclf.data.catalog import DatasetReader
from astroclf.data.decode.images import decode_file, fit_square, is_image
from astroclf.data.loader import PixelBuffer
from astroclf.data.readers.folder import ClassFolder
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.data.readers.hdf5 import OFFICIAL_CHUNK_ROWS
from astroclf.simulation import write_galaxy10
from astroclf.simulation.canvas import to_display
from astroclf.simulation.sky_folder import PAINTERS, draw_sky_object
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

ROOT = Path(__file__).parents[1]
GALAXIES, GALAXY_SIDE = 2 * OFFICIAL_CHUNK_ROWS, 256
PICTURES, PICTURE_SIDE, PREPARED_SIDE = 64, 1600, 1280
DRAWN_SIDE, NOISE = 200, 5.0  # pixels; grey levels
ROWS_ALONE = 5  # a round; each takes most of a second
BATCH_BYTES = 64 * 2**20
CORES = available_cores()

Rate = Callable[[], float]  # takes a turn, and returns images per second


def contenders(reader: DatasetReader, decoded: dict[str, Rate], work: Path) -> dict[str, Rate]:
    """Decoding each time, then building the store, and reading it at random from memory and from the disk."""

    def build() -> float:
        shutil.rmtree(work / "again", ignore_errors=True)
        with timed(len(reader.catalog)) as rate:
            open_image_cache(reader, work / "again", progress=False)
        return rate[0]

    images = open_image_cache(reader, work / "store").images
    packed = open_image_cache(reader, work / "packed", compression="jpegxl").images
    copy = work / "copy.npy"  # never mapped when its turn begins: what is mapped stays in memory
    np.save(copy, images)
    return {
        **decoded,
        f"building the store, {CORES} threads": build,
        "store, random batches, in memory": lambda: gather(images),
        "store, random batches, from the disk": lambda: gather(evicted(copy)),
        "compressed store, random batches, 1 thread": lambda: gather(packed),
    }


def galaxy10(path: Path) -> dict[str, Rate]:
    """How the forerunners and others read the file: a row when it is wanted, or a chunk's height at a time."""
    rng = np.random.default_rng(0)

    def one_row_at_a_time() -> float:
        with h5py.File(path) as file, timed(ROWS_ALONE) as rate:
            for row in rng.integers(len(file["images"]), size=ROWS_ALONE):
                file["images"][row]
        return rate[0]

    def slabs() -> float:
        with h5py.File(path) as file:
            images = file["images"]
            with timed(len(images)) as rate:
                for first in range(0, len(images), OFFICIAL_CHUNK_ROWS):
                    images[first : first + OFFICIAL_CHUNK_ROWS]
        return rate[0]

    return {"h5py, one row at a time": one_row_at_a_time, f"h5py, {OFFICIAL_CHUNK_ROWS} rows at a time": slabs}


def jpegs(paths: list[Path]) -> dict[str, Rate]:
    """Decoding and shrinking in every epoch, in as many threads as a data loader would have workers."""

    def decode(threads: int) -> float:
        with ThreadPoolExecutor(threads) as pool, timed(len(paths)) as rate:
            list(pool.map(lambda path: fit_square(decode_file(path).image_HWC, PREPARED_SIDE), paths))
        return rate[0]

    return {
        "JPEG, decode and resize, 1 thread": lambda: decode(1),
        f"JPEG, decode and resize, {CORES} threads": lambda: decode(CORES),
    }


def gather(images: Images) -> float:
    """One epoch in random order, by the batches that a training takes."""
    pixels = PixelBuffer(images, "disk")
    order = np.random.default_rng(0).permutation(len(images))
    batch = max(1, BATCH_BYTES // images[:1].nbytes)
    with timed(len(order)) as rate:
        for first in range(0, len(order), batch):
            pixels.gather(order[first : first + batch])
    return rate[0]


def evicted(path: Path) -> np.ndarray:
    """The array mapped anew, and none of it in memory."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    return np.load(path, mmap_mode="r")


@contextmanager
def timed(images: int) -> Iterator[list[float]]:
    """A list that holds images per second when the block has ended."""
    rate: list[float] = []
    began = time.perf_counter()
    yield rate
    rate.append(images / (time.perf_counter() - began))


def simulate_jpegs(folder: Path) -> Path:
    """Sky objects drawn small, enlarged, and given the noise of a large picture: it is what the bytes of a JPEG are."""
    kinds = list(PAINTERS)

    def make(index: int) -> None:
        kind, rng = kinds[index % len(kinds)], np.random.default_rng(index)
        light = draw_sky_object(kind, rng, DRAWN_SIDE, DRAWN_SIDE)
        large = cv2.resize(to_display(light) * 255, (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_LINEAR)
        noisy = large + rng.normal(0, NOISE, large.shape)
        (folder / kind).mkdir(parents=True, exist_ok=True)
        picture = Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))
        picture.save(folder / kind / f"{index}.jpg", quality=90)

    with ProgressBar(f"Simulating JPEGs of {PICTURE_SIDE} px", PICTURES) as bar:
        list(bar.count(run_ahead(make, range(PICTURES), CORES)))
    return folder


def race(title: str, rates: dict[str, Rate], rounds: int) -> dict[str, list[float]]:
    seen: dict[str, list[float]] = {name: [] for name in rates}
    for run in rates.values():
        run()  # first calls load tables and warm caches
    for _ in range(rounds):
        for name, run in rates.items():
            seen[name].append(run())
    first = statistics.median(next(iter(seen.values())))
    print(f"{title + ', images/s':<44}{'median':>9}{'lowest':>9}{'highest':>9}{'x first':>9}")
    for name, values in seen.items():
        median = statistics.median(values)
        print(f"{name:<44}{median:>9,.1f}{min(values):>9,.1f}{max(values):>9,.1f}{median / first:>9,.1f}", flush=True)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--galaxy10", type=Path, metavar="FILE", help="in the layout of Galaxy10_DECals.h5")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="pictures in class folders")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "store.json")
    options = parser.parse_args()
    cv2.setNumThreads(1)  # the threads here are one a file

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        file = options.galaxy10 or write_galaxy10(
            work / "galaxies.h5", samples=GALAXIES, image_size=GALAXY_SIDE, seed=0
        )
        folder = options.folder or simulate_jpegs(work / "sky")
        paths = sorted(path for path in folder.rglob("*") if is_image(path))
        with h5py.File(file) as opened:
            side = opened["images"].shape[1]
        sets = {
            f"{file.name}, {side} px": (Galaxy10(file, side), galaxy10(file)),
            f"JPEGs to {PREPARED_SIDE} px": (ClassFolder(folder, "found", PREPARED_SIDE), jpegs(paths)),
        }
        rates = {}
        for number, (title, (reader, decoded)) in enumerate(sets.items()):
            rates[title] = race(title, contenders(reader, decoded, work / str(number)), options.rounds)
            print()
    record = {
        "images_per_second": rates,
        "cores": CORES,
        "machine": {"system": platform.platform(), "processor": _processor()},
        "versions": {"opencv": cv2.__version__, "pillow": Image.__version__, "h5py": h5py.__version__},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"written to {options.json}")


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line for line in lines if line.startswith("model name")]
    return names[0].split(":", 1)[1].strip() if names else platform.processor()


if __name__ == "__main__":
    main()
