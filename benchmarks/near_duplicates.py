"""Near duplicates: how many planted copies are found, how many different images are taken for copies, and the time.

    python benchmarks/near_duplicates.py [--data FILE.h5] [--images 1000] [--json FILE]

Every image is copied once under each transformation, and originals and copies are searched together, by what an image
cache keeps of them. `FILE.h5` has Galaxy10's layout; without it, galaxies of 256 px are simulated. The large set of
the second timing is made of those images: the middle of one amid the turned surroundings of another.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import h5py
import numpy as np

from astroclf.data.decode.original import pixel_digest, thumbnail
from astroclf.data.decode.values import numbers
from astroclf.data.split.links import exact_duplicates, near_duplicates
from astroclf.simulation.galaxies import draw_galaxy
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

ROOT = Path(__file__).parents[1]
SIZE, CLASSES = 256, 10  # of the simulated galaxies
LARGE = 17_736  # images of Galaxy10
QUALITY, SHIFT, BRIGHTER, GRAIN, ZOOM, ANGLE = 60, 2, 1.1, 2.5, 1.02, 3.0


def compress(image: np.ndarray) -> np.ndarray:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
    return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def warp(image: np.ndarray, *, scale: float = 1.0, angle: float = 0.0, shift: int = 0) -> np.ndarray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), angle, scale)
    matrix[:, 2] += shift
    return cv2.warpAffine(image, matrix, (width, height))


def brighten(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image * BRIGHTER), 0, 255).astype(np.uint8)


def add_grain(image: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, GRAIN, image.shape)
    return np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)


def everything(image: np.ndarray) -> np.ndarray:
    return compress(brighten(warp(np.ascontiguousarray(np.rot90(image)[:, ::-1]), shift=SHIFT)))


TRANSFORMATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "rotated by 90°": np.rot90,
    "mirrored": lambda image: image[:, ::-1],
    f"JPEG of quality {QUALITY}": compress,
    f"shifted by {SHIFT} px both ways": lambda image: warp(image, shift=SHIFT),
    "10 % brighter": brighten,
    "all of these at once": everything,
    f"noise of {GRAIN} grey levels": add_grain,
    "enlarged by 2 %, cut": lambda image: warp(image, scale=ZOOM),
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    f"rotated by {ANGLE:.0f}° (not looked for)": lambda image: warp(image, angle=ANGLE),
}


def load_images(path: Path | None, count: int) -> np.ndarray:
    """(N, S, S, 3) uint8."""
    if path is not None:
        with h5py.File(path, "r") as file:
            return np.asarray(file["images"][:count])

    def draw(row: int) -> np.ndarray:
        return draw_galaxy(row * CLASSES // count, np.random.default_rng([0, row]), SIZE)

    with ProgressBar("Simulating galaxies", count) as bar:
        return np.stack(list(bar.count(run_ahead(draw, range(count), available_cores()))))


def thumbnails(images: list[np.ndarray]) -> np.ndarray:
    return np.stack([thumbnail(numbers(image)) for image in images])


def many_images(pictures: np.ndarray, count: int) -> np.ndarray:
    """(count, T, T) uint8: pictures of which hardly two are alike."""
    rng = np.random.default_rng(0)
    side = pictures.shape[1]
    away = np.hypot(*(np.mgrid[:side, :side] - (side - 1) / 2))
    middle = np.clip((0.4 * side - away) / 8, 0, 1)
    made = np.empty((count, side, side), np.uint8)
    for row in range(count):
        inner, outer = rng.integers(len(pictures), size=2)
        made[row] = pictures[inner] * middle + np.rot90(pictures[outer], rng.integers(4)) * (1 - middle)
    return made


def seconds(pictures: np.ndarray) -> float:
    began = time.perf_counter()
    near_duplicates(pictures)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="HDF5 file with `images`, as Galaxy10's")
    parser.add_argument("--images", type=int, default=1000, help="of the file, or simulated")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "near_duplicates.json")
    options = parser.parse_args()

    images = load_images(options.data, options.images)
    count = len(images)
    firsts = np.arange(count)
    exact = exact_duplicates(np.array([pixel_digest(numbers(image)) for image in images])).rows
    firsts[exact[:, 1]] = exact[:, 0]  # pairs of equal images are right, wherever they are found
    originals = thumbnails(list(images))
    among = near_duplicates(originals).rows
    false = int((firsts[among[:, 0]] != firsts[among[:, 1]]).sum())
    million = count * (count - 1) / 2 / 1e6

    print(f"{count} images, {len(exact)} of them equal to an earlier one")
    print(f"{'copies':<34}{'found':>9}{'false pairs with a copy':>26}")
    found: dict[str, dict[str, float]] = {}
    for name, change in TRANSFORMATIONS.items():
        rows = near_duplicates(np.concatenate([originals, thumbnails([change(image) for image in images])])).rows
        first, second = rows[(rows[:, 0] < count) & (rows[:, 1] >= count)].T
        second = second - count
        recall = np.count_nonzero(first == second) / count
        wrong = int((firsts[first] != firsts[second]).sum())
        found[name] = {"found": recall, "false_pairs": wrong}
        print(f"{name:<34}{recall:>8.2%}{wrong:>17} of {count * (count - 1):,}")
    print(f"false pairs among the originals: {false}, {false / million:.2f} in a million pairs")
    timings = {len(pictures): seconds(pictures) for pictures in (originals, many_images(originals, LARGE))}
    for size, spent in timings.items():
        print(f"{size:>6,} images compared in {spent:.1f} s")
    record = {
        "images": count,
        "data": options.data.name if options.data else f"simulated, {SIZE} px",
        "copies": found,
        "false_pairs_per_million": false / million,
        "seconds": timings,
        "machine": {"system": platform.platform(), "cores": os.cpu_count()},
        "versions": {"opencv": cv2.__version__, "numpy": np.__version__},
    }
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n")
    print(f"written to {options.json}")


if __name__ == "__main__":
    main()
