"""What a CUDA device makes of training and inference: images a second beside peers, ceilings, kernels, memory.

    python benchmarks/gpu.py [--minutes 4] [--parts training waits] [--without tutorial] [--tests] [--dry-run]

Needs torch, torchvision, NumPy and OpenCV; peers that are not installed (Lightning, timm) are left out with a word.
Parts come in the order of what is most worth knowing; those that the time does not reach are named. Whatever fails is
told, and the rest goes on; the JSON is written after each part. All contenders of a part take turns in rounds on the
same device, and the median of the rounds is shown. Batches of training are as large as fill the device; what compiling
takes is in `first_seconds`, apart from the rates. The parts are in `device/`, the peers in `peers/`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from device import around
from device.cuda_tests import run_tests
from device.race import Scale, dry, on_cuda
from device.roofline import ceilings
from device.session import Part, answers_part, measure_all, peers_part, session_options, steps_part

from astroclf.models.precision import make_deterministic

ROOT = Path(__file__).parents[1]
DEFAULT_BATCH = 32  # of `conf/trainer/default.yaml`


def parts_of(scale: Scale) -> dict[str, Part]:
    """Name all parts, those most worth knowing first, and before those that must be compiled."""
    middle, biggest = scale.middle, scale.biggest
    sizes = (middle, *(size for size in sorted(scale.batch, reverse=True) if size != middle))
    many, few = scale.batch_inferred, max(1, scale.batch_inferred // 32)
    parts: dict[str, Part] = {
        "ceilings": lambda scale, found: ceilings(scale),
        **{f"training resnet18 {size}": steps_part("resnet18", size, scale.batch[size]) for size in sizes},
        "waits": around.waits,
        f"answers {biggest}": answers_part(biggest, many),
        "epoch": around.epoch,
        "kernels": _kernels(),
        "first convolution": around.first_convolution,
        "large": around.large,
        f"compiled training resnet18 {middle}": steps_part("resnet18", middle, scale.batch[middle], compiles=True),
        "waiting": around.waiting,
        f"peers resnet18 {middle}": peers_part("resnet18", middle),
        f"small batch {middle}": steps_part("resnet18", middle, DEFAULT_BATCH),
        **{f"training custom6conv {size}": steps_part("custom6conv", size, scale.batch[size]) for size in sizes},
        f"latency {middle}": answers_part(middle, 1),
        f"answers {scale.large}": answers_part(scale.large, few),
        "compiled kernels": _kernels(compiles=True),
        f"compiled answers {biggest}": answers_part(biggest, many, compiles=True),
        f"compiled latency {middle}": answers_part(middle, 1, compiles=True),
        f"compiled small batch {middle}": steps_part("resnet18", middle, DEFAULT_BATCH, compiles=True),
    }
    parts |= {f"peers resnet18 {size}": peers_part("resnet18", size) for size in sizes}
    for name in ("resnet18", "custom6conv"):
        parts |= {f"compiled training {name} {s}": steps_part(name, s, scale.batch[s], compiles=True) for s in sizes}
    parts |= {f"peers custom6conv {size}": peers_part("custom6conv", size) for size in sizes}
    return {name: part for name, part in parts.items() if scale.compiles or "compiled" not in name}


def _kernels(**options: bool) -> Part:
    return lambda scale, found: around.kernels(scale, found, **options)


def main(arguments: list[str] | None = None) -> None:
    parser = session_options(str(__doc__), 4.0, ROOT / "benchmarks" / "gpu.json")
    parser.add_argument("--tests", action="store_true", help="first run the tests that need a CUDA device")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="contenders that are compiled")
    options = parser.parse_args(arguments)
    if not options.dry_run and not torch.cuda.is_available():
        print("torch finds no CUDA device here: there is nothing to measure. --dry-run shows that all parts run.")
        return
    scale = dry(bool(options.compile)) if options.dry_run else on_cuda(options.workers, options.compile is not False)
    make_deterministic(True, scale.device)  # before cuBLAS starts, which reads then what that needs
    parts = parts_of(scale)
    if options.tests:
        parts = {"tests": lambda scale, found: run_tests(), **parts}
        options.parts = options.parts and ["tests", *options.parts]
    measure_all(parts, scale, options)


if __name__ == "__main__":
    main()
