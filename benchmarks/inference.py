"""A trained model's answers beside a plain torchvision script: one image at once, a batch, a folder, and by REST.

    python benchmarks/inference.py [--images 256] [--rounds 5] [--no-rest] [--json FILE]

ResNet-18 with random weights, ten classes, JPEGs of 128 px that are drawn here. Wall-clock, with all cores that this
process may use. In every round all contenders take their turn, so that what else runs on the machine disturbs all
alike: read the ratios, not the times, where it was busy. By REST, the peer is `peers/plain_server.py`; of timm, its
network in memory and, for the folder, the loader and the loop of its `inference.py`.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torchvision
from peers.plain_server import CLASSES, MEAN, PLAIN, STD
from PIL import Image

from astroclf.cli.verbs import find_verb
from astroclf.models.classifier import Classifier
from astroclf.models.resnet18 import ResNet18
from astroclf.registry.load import load
from astroclf.registry.package import write_package
from astroclf.registry.register import save_model
from astroclf.settings.yaml_files import yaml_values
from astroclf.simulation.canvas import to_display
from astroclf.simulation.sky_folder import PAINTERS, draw_sky_object
from astroclf.util.threads import available_cores

ROOT = Path(__file__).parents[1]
SIDE, BATCH = 128, 32
STARTING = 180  # seconds that a server may take
SETTLED = 10  # questions before a server is timed

Turn = Callable[[], Any]


def draw(folder: Path, count: int) -> list[Path]:
    """Sky objects as JPEGs; their noise is what most of a JPEG's bytes are."""
    folder.mkdir()
    kinds = list(PAINTERS)
    for index in range(count):
        rng = np.random.default_rng(index)
        light = to_display(draw_sky_object(kinds[index % len(kinds)], rng, SIDE, SIDE)) * 255
        pixels = np.clip(light + rng.normal(0, 5, light.shape), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).convert("RGB").save(folder / f"{index:05d}.jpg", quality=90)
    return sorted(folder.iterdir())


def write_model(folder: Path) -> Path:
    augment = {key: value for key, value in yaml_values("augment/none").items() if key != "_target_"}
    spec = {
        "backbone": {"_target_": "astroclf.models.resnet18.ResNet18", "image_size": SIDE, "stem": "imagenet"},
        "classes": [f"class {number}" for number in range(CLASSES)],
        "image_size": SIDE,
        "augment": {**augment, "mean": MEAN, "std": STD},
    }
    torch.manual_seed(0)
    return write_package(folder, spec, Classifier(ResNet18(image_size=SIDE, stem="imagenet"), CLASSES).state_dict())


@torch.inference_mode()
def plain_batches(network: torch.nn.Module, paths: list[Path], batch: int) -> list[int]:
    """What people write: Pillow, torchvision's transforms, and the network, one after another."""
    found: list[int] = []
    for first in range(0, len(paths), batch):
        images = torch.stack([PLAIN(Image.open(path).convert("RGB")) for path in paths[first : first + batch]])
        found += network(images).softmax(dim=1).argmax(dim=1).tolist()
    return found


@contextmanager
def served(command: list[str], work: Path) -> Iterator[str]:
    """The address of a server on loopback; `command` takes its port last."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    log_path = work / f"{port}.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, str(port)], stdout=log, stderr=log, env=environment, cwd=Path(__file__).parent
        )
    try:
        address, began = f"http://127.0.0.1:{port}", time.monotonic()
        while True:
            try:
                urllib.request.urlopen(f"{address}/ping", timeout=5).close()
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() - began > STARTING:
                    raise SystemExit(log_path.read_text()) from error
                time.sleep(0.2)
        yield f"{address}/invocations"
    finally:
        process.terminate()
        process.wait()


def race_by_rest(package: Path, work: Path, paths: list[Path], rounds: int) -> dict[str, list[float]]:
    """Questions of one JPEG each, over a connection of its own, as `curl` and `urllib` ask."""
    save_model(work / "mlflow", package)
    mlflow = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(work / "mlflow"), "-h", "127.0.0.1"]
    plain = [sys.executable, "-m", "uvicorn", "peers.plain_server:app", "--log-level", "error"]
    with (
        served([*plain, "--port"], work) as peer,
        served([*mlflow, "--env-manager", "local", "--port"], work) as ours,
    ):
        for address in (peer, ours):
            for path in paths[:SETTLED]:
                ask(address, path)
        turns = {
            "torchvision behind FastAPI (plain_server.py)": partial(ask_all, peer, paths[:SETTLED]),
            "astroclf, by REST (mlflow models serve)": partial(ask_all, ours, paths[:SETTLED]),
        }
        return race("One JPEG of 128 px, by REST", turns, rounds, SETTLED)


def ask_all(address: str, paths: list[Path]) -> None:
    for path in paths:
        ask(address, path)


def ask(address: str, path: Path) -> Any:
    body = json.dumps({"inputs": [base64.b64encode(path.read_bytes()).decode()]}).encode()
    request = urllib.request.Request(address, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def race(title: str, turns: dict[str, Turn], rounds: int, images: int = 1) -> dict[str, list[float]]:
    """Milliseconds an image of every turn; the first contender is what the others are compared with."""
    seen: dict[str, list[float]] = {name: [] for name in turns}
    for turn in turns.values():
        turn()  # first calls choose kernels and load tables
    for _ in range(rounds):
        for name, turn in turns.items():
            began = time.perf_counter()
            turn()
            seen[name].append(1000 * (time.perf_counter() - began) / images)
    first = statistics.median(next(iter(seen.values())))
    print(f"{title + ', ms an image':<52}{'median':>9}{'lowest':>9}{'images/s':>10}{'x first':>9}")
    for name, values in seen.items():
        median = statistics.median(values)
        print(f"{name:<52}{median:>9.2f}{min(values):>9.2f}{1000 / median:>10.1f}{median / first:>9.2f}", flush=True)
    print()
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--images", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-rest", dest="rest", action="store_false")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "inference.json")
    options = parser.parse_args()

    torch.manual_seed(0)
    network = torchvision.models.resnet18(num_classes=CLASSES).eval()
    seen: dict[str, dict[str, list[float]]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        paths = draw(work / "night", options.images)
        package = write_model(work / "model")
        predictor = load(package, device="cpu")
        pixels = np.stack([np.asarray(Image.open(path)) for path in paths[:BATCH]])
        tensors = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div(255)

        def forward(model: torch.nn.Module, dtype: torch.dtype, memory_format: torch.memory_format) -> Turn:
            copied = torchvision.models.resnet18(num_classes=CLASSES).eval()
            copied.load_state_dict(model.state_dict())
            copied = copied.to(memory_format=memory_format)
            given = tensors.to(memory_format=memory_format)

            def turn() -> None:
                with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    copied(given)

            return turn

        one = {
            "torchvision script, one JPEG": lambda: plain_batches(network, paths[:1], 1),
            "astroclf, Predictor.predict(path)": lambda: predictor.predict(paths[0]),
        }
        seen["one JPEG"] = race("One JPEG of 128 px", one, 10 * options.rounds)
        if options.rest:
            seen["by REST"] = race_by_rest(package, work, paths, 4 * options.rounds)
        batch: dict[str, Turn] = {
            "torchvision's network, fp32": forward(network, torch.float32, torch.contiguous_format),
            "torchvision's network, fp32, channels_last": forward(network, torch.float32, torch.channels_last),
            "torchvision's network, bf16": forward(network, torch.bfloat16, torch.contiguous_format),
            "torchvision's network, bf16, channels_last": forward(network, torch.bfloat16, torch.channels_last),
            "astroclf, Predictor.classify": lambda: predictor.classify(pixels),
        }
        theirs = timm.create_model("resnet18", num_classes=CLASSES).eval()
        batch["timm's network, fp32"] = lambda: _inferred(theirs, tensors)
        seen[f"batch of {BATCH}"] = race(f"A batch of {BATCH} in memory", batch, options.rounds, BATCH)
        command = [str(package), str(work / "night"), f"output={work / 'answers.csv'}", "overwrite=true"]
        folder = {
            "torchvision script, the folder": lambda: plain_batches(network, paths, BATCH),
            "astroclf predict, with its table": lambda: find_verb("predict").main(
                [*command, "trainer.device=cpu", "tracking.uri=sqlite:///none.db"]
            ),
        }
        folder["timm's loader and loop, two workers"] = lambda: timm_folder(theirs, work / "night")
        folder["timm's loader and loop, two workers, bf16"] = lambda: timm_folder(
            theirs, work / "night", torch.bfloat16
        )
        seen["folder"] = race(f"A folder of {len(paths)} JPEGs", folder, options.rounds, len(paths))
    record = {
        "milliseconds_an_image": seen,
        "images_in_folder": len(paths),
        "cores": available_cores(),
        "load": os.getloadavg(),
        "machine": platform.platform(),
        "processor": processor(),
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "timm": timm.__version__},
    }
    options.json.write_text(json.dumps(record, indent=1) + "\n")
    print(f"written to {options.json}")


def processor() -> dict[str, Any]:
    abilities = torch.cpu.get_capabilities()
    return {name: abilities.get(name) for name in ("architecture", "avx512_bf16", "amx_bf16")}


@torch.inference_mode()
def timm_folder(network: torch.nn.Module, folder: Path, dtype: torch.dtype | None = None) -> list[int]:
    """What `inference.py` of timm does without a GPU, with its `--amp --amp-dtype` where a type is given."""
    config = timm.data.resolve_data_config({"input_size": (3, SIDE, SIDE), "mean": MEAN, "std": STD, "crop_pct": 1.0})
    dataset = timm.data.create_dataset("", root=str(folder), class_map="")
    loader = timm.data.create_loader(dataset, batch_size=BATCH, use_prefetcher=False, num_workers=2, **config)
    found: list[int] = []
    for images, _ in loader:
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            scores = network(images)
        found += scores.softmax(-1).topk(1).indices[:, 0].tolist()
    return found


@torch.inference_mode()
def _inferred(network: torch.nn.Module, images_BCHW: torch.Tensor) -> None:
    network(images_BCHW).softmax(dim=1)


if __name__ == "__main__":
    main()
