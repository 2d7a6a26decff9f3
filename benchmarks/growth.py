"""Growth with N: seconds and memory of listing, preparing, splitting and training, for ever more images. Linux only.

    python benchmarks/growth.py [--images 1000 10000 100000] [--files 1000 10000] [--work FOLDER] [--json FILE]
    python benchmarks/growth.py --images 1000000 --files --steps list prepare split load --work FOLDER   # 11 GB of disk

Each step is done in a process of its own, by the code that the commands run: the data set is listed, decoded into the
cache, split (with the search for near copies), loaded for an epoch (all images, shuffled, augmented, in batches of 256)
and trained on for one by the smallest network of timm, with validation, test, report and package.
`--images` lie in one array, `--files` are JPEG files beside a table. They are of 32 px: the middle of one simulated
galaxy amid the turned surroundings of another, with grain; one in 50 is a turned and brighter copy of an earlier one.

Shown are wall-clock seconds, the seconds that the cores worked (which other work on the machine changes less), and
the memory at its peak, beyond what the imports take: the process's own, and the pages of mapped files beside it, which
the system takes back when it needs them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from astroclf.util.threads import processor

ROOT = Path(__file__).parents[1]
SIDE, CLASSES, DRAWN = 32, 10, 500  # pixels; classes; galaxies that the images are composed of
COPY_EVERY, GRAIN = 50, 4.0  # images; grey levels
BLOCK = 5000  # images made at a time
MEGA = 2**20
STEPS = ("list", "prepare", "split", "load", "train")
NETWORK = ["backbone=timm", "backbone.name=test_resnet", "augment=dihedral"]
TRAINING = [*NETWORK, "trainer.epochs=1", "trainer.batch_size=256", "trainer.device=cpu", "tracking=none"]

# ---- the images -----------------------------------------------------------------------------------------------------


def draw_galaxies() -> np.ndarray:
    """(DRAWN, SIDE, SIDE, 3) uint8, sorted by class."""
    from astroclf.simulation.galaxies import draw_galaxy  # noqa: PLC0415 - measured in the child alone

    return np.stack(
        [draw_galaxy(row * CLASSES // DRAWN, np.random.default_rng([0, row]), SIDE) for row in range(DRAWN)]
    )


def compose(galaxies: np.ndarray, first: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images [first, first + count) and their labels, those of the galaxies in their middle."""
    rng = np.random.default_rng([1, first])
    away = np.hypot(*(np.mgrid[:SIDE, :SIDE] - (SIDE - 1) / 2))
    middle = np.clip((0.35 * SIDE - away) / 4, 0, 1).astype(np.float32)[..., None]
    inner, outer = rng.integers(DRAWN, size=(2, count))
    surroundings = galaxies[outer]
    for turns in range(4):
        surroundings[turns::4] = np.rot90(surroundings[turns::4], turns, axes=(1, 2))
    grain = rng.normal(0, GRAIN, (count, SIDE, SIDE, 1)).astype(np.float32)
    images = galaxies[inner] * middle + surroundings * (1 - middle) + grain
    labels = inner * CLASSES // DRAWN
    copies = np.arange(COPY_EVERY - 1, count, COPY_EVERY)
    images[copies] = 1.1 * np.rot90(images[copies - COPY_EVERY // 2], axes=(1, 2))[:, ::-1]
    labels[copies] = labels[copies - COPY_EVERY // 2]
    return np.clip(np.rint(images), 0, 255).astype(np.uint8), labels


def write_array(folder: Path, count: int) -> None:
    galaxies = draw_galaxies()
    images = np.lib.format.open_memmap(folder / "images.npy", "w+", np.uint8, (count, SIDE, SIDE, 3))
    labels = np.empty(count, np.int64)
    for first in range(0, count, BLOCK):
        stop = min(first + BLOCK, count)
        images[first:stop], labels[first:stop] = compose(galaxies, first, stop - first)
    np.save(folder / "labels.npy", labels)


def write_files(folder: Path, count: int) -> None:
    galaxies = draw_galaxies()
    with (folder / "labels.csv").open("w") as table:
        table.write("path,label\n")
        for first in range(0, count, BLOCK):
            images, labels = compose(galaxies, first, min(BLOCK, count - first))
            (folder / f"{first // BLOCK}").mkdir()
            for row, (image, label) in enumerate(zip(images, labels, strict=True), first):
                path = f"{first // BLOCK}/{row}.jpg"
                cv2.imwrite(str(folder / path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
                table.write(f"{path},class {label}\n")


# ---- one step, in a process of its own ------------------------------------------------------------------------------


class Memory:
    """The most memory that this process has while it is watched, in MB: its own, and of mapped files."""

    def __init__(self) -> None:
        self.own = self.mapped = 0.0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._start = _resident()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            own, mapped = _resident()
            self.own = max(self.own, own - self._start[0])
            self.mapped = max(self.mapped, mapped - self._start[1])


def _resident() -> tuple[float, float]:
    status = Path("/proc/self/status").read_text()
    own, mapped = (int(re.search(rf"{name}:\s*(\d+) kB", status)[1]) / 1024 for name in ("RssAnon", "RssFile"))
    return own, mapped


def step(name: str, words: list[str], work: Path) -> None:
    """Do one step, and print what it took."""
    from astroclf.config.build import build  # noqa: PLC0415 - measured in the child alone
    from astroclf.config.compose import composed_as  # noqa: PLC0415
    from astroclf.data.cache.image_cache import open_image_cache  # noqa: PLC0415
    from astroclf.data.loader import BatchLoader, PixelBuffer  # noqa: PLC0415
    from astroclf.data.split.splits import split_image_cache  # noqa: PLC0415
    from astroclf.run import train as _  # noqa: F401, PLC0415 - torch
    from astroclf.settings.config import Config  # noqa: PLC0415
    from astroclf.train import main as train  # noqa: PLC0415

    dataset = composed_as(Config, "config", words).dataset
    os.chdir(work)

    def timed(do: Callable[[], object]) -> object:
        with Memory() as memory:
            wall, worked = time.perf_counter(), time.process_time()
            result = do()
            wall, worked = time.perf_counter() - wall, time.process_time() - worked
        took = {"seconds": wall, "core_seconds": worked, "own_mb": memory.own, "mapped_mb": memory.mapped}
        print(json.dumps({**took, **(result if isinstance(result, dict) else {})}))
        return result

    if name == "train":

        def trained() -> None:
            if train([*words, *TRAINING]):
                raise SystemExit("the training failed")

        timed(trained)
        return
    if name == "list":
        timed(lambda: build(dataset, reading=dataset.reading).fingerprint())
        return
    reader = build(dataset, reading=dataset.reading)
    if name == "prepare":
        timed(lambda: open_image_cache(reader, Path(dataset.cache_dir)))
        return
    cache = open_image_cache(reader, Path(dataset.cache_dir))
    if name == "load":
        recipe = build(composed_as(Config, "config", [*words, *NETWORK]).augment)
        buffer = PixelBuffer(cache.images, "disk")
        rows = np.arange(len(cache.images))
        loader = BatchLoader(
            buffer, cache.catalog.labels, rows, batch_size=256, augmentation=recipe, seed=0, train=True
        )
        timed(lambda: deque(loader.epoch(0), maxlen=0))
        return

    def split() -> dict[str, float]:
        groups = split_image_cache(cache, dataset).groups
        copies = np.array([row for row in range(COPY_EVERY - 1, len(groups), COPY_EVERY)])
        return {"copies_found": float((groups[copies] == groups[copies - COPY_EVERY // 2]).mean())}

    timed(split)


# ---- all of it ------------------------------------------------------------------------------------------------------


def measure(kind: str, count: int, steps: list[str], work: Path) -> dict[str, dict[str, float]]:
    folder = work / f"{kind}-{count}"
    (folder / "data").mkdir(parents=True)
    (write_array if kind == "array" else write_files)(folder / "data", count)
    name = "arrays" if kind == "array" else "folder"
    words = [f"dataset={name}", f"dataset.path={folder / 'data'}", f"dataset.image_size={SIDE}", "dataset.name=growth"]
    words += [f"dataset.cache_dir={folder / 'cache'}"]
    taken = {}
    for each in steps:
        command = [sys.executable, __file__, "--step", each, "--work", str(folder), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{each} of {count} images failed:\n{done.stderr}")
        lines = [line for line in done.stdout.splitlines() if line.startswith('{"seconds"')]
        taken[each] = json.loads(lines[-1])
        shown = "".join(f"{taken[each][key]:>14,.1f}" for key in ("seconds", "core_seconds", "own_mb", "mapped_mb"))
        found = f"   {taken[each]['copies_found']:.2%} of the copies" if "copies_found" in taken[each] else ""
        print(f"{kind:<8}{count:>12,}  {each:<9}{shown}{found}", flush=True)
    shutil.rmtree(folder)
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, nargs="*", default=[1000, 10_000, 100_000], help="in an array")
    parser.add_argument("--files", type=int, nargs="*", default=[1000, 10_000], help="in a folder with a table")
    parser.add_argument("--steps", nargs="*", choices=STEPS, default=list(STEPS))
    parser.add_argument("--work", type=Path, help="where data and cache are made and removed again")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "growth.json")
    parser.add_argument("--step", choices=STEPS, help="do this step alone, in this process")
    parser.add_argument("words", nargs="*", help="of the step")
    options = parser.parse_args()
    if options.step:
        step(options.step, options.words, options.work)
        return
    head = "".join(f"{name:>14}" for name in ("seconds", "core seconds", "own MB", "mapped MB"))
    print(f"{'kind':<8}{'images':>12}  {'step':<9}{head}")
    with tempfile.TemporaryDirectory(dir=options.work) as work:
        for kind, counts in (("array", options.images), ("files", options.files)):
            for count in counts:
                keep(options.json, kind, count, measure(kind, count, options.steps, Path(work)))
    print(f"written to {options.json}")


def keep(path: Path, kind: str, count: int, taken: dict[str, dict[str, float]]) -> None:
    """Write down what was measured, beside what was measured before of other numbers."""
    record = json.loads(path.read_text()) if path.is_file() else {}
    record.setdefault("growth", {}).setdefault(kind, {})[str(count)] = taken
    record["side"] = SIDE
    record["machine"] = {"system": platform.platform(), "cores": os.cpu_count(), "processor": processor()}
    record["versions"] = {"opencv": cv2.__version__, "numpy": np.__version__}
    path.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
