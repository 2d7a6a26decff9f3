"""What a CUDA device makes of training and inference: images a second beside peers, ceilings, kernels, memory.

    python benchmarks/gpu.py [--minutes 4] [--parts training waits] [--without tutorial] [--tests] [--dry-run]

Needs torch, torchvision, NumPy and OpenCV; peers that are not installed (Lightning, timm) are left out with a word.
Parts come in the order of what is most worth knowing; those that the time does not reach are named. Whatever fails is
told, and the rest goes on; the JSON is written after each part. All contenders of a part take turns in rounds on the
same device, and the median of the rounds is shown. Batches of training are as large as fill the device; what compiling
takes is in `first_seconds`, apart from the rates. The parts are in `on_gpu/`, the peers in `peers/`.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from on_gpu import around, inference, training
from on_gpu.cuda_tests import run_tests
from on_gpu.race import Scale, dry, explained, on_cuda
from on_gpu.roofline import ceilings

from astroclf.models.precision import make_deterministic
from astroclf.util.atomic import atomic_path
from astroclf.util.threads import available_cores
from astroclf.util.version import __version__

ROOT = Path(__file__).parents[1]
DEFAULT_BATCH = 32  # of `conf/trainer/default.yaml`

SHOWN_BESIDE = {  # of a contender, by what it is called in the table
    "share_of_bare": "of bare",
    "share_of_roofline": "of roofline",
    "share_of_fused_roofline": "of fused roofline",
    "astroclf_is_faster": "astroclf x",
    "ms_an_image": "ms an image",
    "first_seconds": "first s",
}

Found = dict[str, Any]
Part = Callable[[Scale, Found], dict[str, Any]]


def parts_of(scale: Scale) -> dict[str, Part]:
    """Name all parts, those most worth knowing first, and before those that must be compiled."""
    middle, biggest = scale.middle, scale.biggest
    sizes = (middle, *(size for size in sorted(scale.batch, reverse=True) if size != middle))
    many, few = scale.batch_inferred, max(1, scale.batch_inferred // 32)
    parts: dict[str, Part] = {
        "ceilings": lambda scale, found: ceilings(scale),
        **{f"training resnet18 {size}": _steps("resnet18", size, scale.batch[size]) for size in sizes},
        "waits": around.waits,
        f"answers {biggest}": _answers(biggest, many),
        "epoch": around.epoch,
        "kernels": _kernels(),
        "large": around.large,
        f"compiled training resnet18 {middle}": _steps("resnet18", middle, scale.batch[middle], compiles=True),
        "waiting": around.waiting,
        f"peers resnet18 {middle}": _peers("resnet18", middle),
        f"small batch {middle}": _steps("resnet18", middle, DEFAULT_BATCH),
        **{f"training custom6conv {size}": _steps("custom6conv", size, scale.batch[size]) for size in sizes},
        f"latency {middle}": _answers(middle, 1),
        f"answers {scale.large}": _answers(scale.large, few),
        "compiled kernels": _kernels(compiles=True),
        f"compiled answers {biggest}": _answers(biggest, many, compiles=True),
        f"compiled latency {middle}": _answers(middle, 1, compiles=True),
        f"compiled small batch {middle}": _steps("resnet18", middle, DEFAULT_BATCH, compiles=True),
    }
    parts |= {f"peers resnet18 {size}": _peers("resnet18", size) for size in sizes}
    for name in ("resnet18", "custom6conv"):
        parts |= {f"compiled training {name} {s}": _steps(name, s, scale.batch[s], compiles=True) for s in sizes}
    parts |= {f"peers custom6conv {size}": _peers("custom6conv", size) for size in sizes}
    return {name: part for name, part in parts.items() if scale.compiles or "compiled" not in name}


def chosen(parts: dict[str, Part], words: list[str] | None) -> dict[str, Part]:
    """Return the parts whose names begin with one of the words, in the order of these; all where there are none."""
    if words is None:
        return parts
    return {name: parts[name] for word in words for name in parts if name.startswith(word)}


def _steps(name: str, size: int, batch: int, **options: bool) -> Part:
    return lambda scale, found: training.steps(name, size, batch, scale, found, **options)


def _peers(name: str, size: int) -> Part:
    return lambda scale, found: training.peers(name, size, scale, found)


def _answers(size: int, batch: int, **options: bool) -> Part:
    return lambda scale, found: inference.answers(size, batch, scale, found, **options)


def _kernels(**options: bool) -> Part:
    return lambda scale, found: around.kernels(scale, found, **options)


def measured(part: Part, scale: Scale, found: Found) -> dict[str, Any]:
    """Return what a part found with its seconds; where it fails, the error, and its memory is given back."""
    began = time.perf_counter()
    make_deterministic(True, scale.device)  # as a training is unless it is asked for otherwise
    try:
        result = part(scale, found)
    except Exception as error:  # whatever one part cannot do here, the others go on
        result = {"error": explained(error)}
    gc.collect()
    if scale.on_cuda:
        torch.cuda.empty_cache()
    return {**result, "part_seconds": time.perf_counter() - began}


def show(name: str, result: dict[str, Any]) -> None:
    """Print a part: its contenders as a table, whatever else it has below."""
    contenders = result.get("contenders", {})
    print(f"\n== {name} ({result.get('part_seconds', 0):.1f} s)")
    if contenders:
        print(
            f"{'batch ' + str(result.get('batch', '')) + ', images/s':<60}{'median':>10}{'lowest':>10}{'highest':>10}"
        )
    for title, each in contenders.items():
        if "median" not in each:
            print(f"{title:<60}{each}")
            continue
        more = [f"{label} {each[key]:.3g}" for key, label in SHOWN_BESIDE.items() if key in each]
        numbers = f"{each['median']:>10.0f}{each['lowest']:>10.0f}{each['highest']:>10.0f}"
        print(f"{title:<60}{numbers}  {', '.join(more)}")
    for key, value in result.items():
        if key == "top":
            for each in value:
                numbers = f"{each['ms_a_step']:>9.3f} ms{each['share']:>7.1%} x{each['count_a_step']:<6.4g}"
                print(f"{numbers}{each['name'][:95]}")
        elif key not in ("contenders", "part_seconds"):
            print(f"{key}: {_rounded(value)}")
    print(end="", flush=True)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def machine(scale: Scale) -> dict[str, Any]:
    device = {"name": "cpu"}
    if scale.on_cuda:
        seen = torch.cuda.get_device_properties(scale.device)
        device = {
            "name": seen.name,
            "memory_gib": seen.total_memory / 2**30,
            "capability": f"{seen.major}.{seen.minor}",
            "multiprocessors": seen.multi_processor_count,
        }
    versions = {"astroclf": __version__, "torch": torch.__version__, "torchvision": torchvision.__version__}
    versions |= {"numpy": np.__version__, "python": platform.python_version()}
    versions |= {"cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
    return {"device": device, "system": platform.platform(), "cores": available_cores(), "versions": versions}


def write(path: Path, record: dict[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--minutes", type=float, default=4.0, help="no part begins after so many (%(default)s)")
    words = {"nargs": "+", "metavar": "WORDS"}
    parser.add_argument("--parts", **words, help="only parts whose names begin with one of these, in this order")
    parser.add_argument("--without", **words, default=(), help="no contenders whose names have one of these in them")
    parser.add_argument("--rounds", type=int, help="turns of each contender, instead of 5")
    parser.add_argument("--tests", action="store_true", help="first run the tests that need a CUDA device")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU: does it run? no figures")
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, help="contenders that are compiled")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes that feed the peers")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "gpu.json")
    options = parser.parse_args(arguments)

    if not options.dry_run and not torch.cuda.is_available():
        print("torch finds no CUDA device here: there is nothing to measure. --dry-run shows that all parts run.")
        return
    scale = dry(bool(options.compile)) if options.dry_run else on_cuda(options.workers, options.compile is not False)
    scale = replace(scale, rounds=options.rounds or scale.rounds, without=tuple(options.without))
    make_deterministic(True, scale.device)  # before cuBLAS starts, which reads then what that needs
    began = time.monotonic()
    found: Found = {}
    record = {
        **machine(scale),
        "dry_run": options.dry_run,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": scale.rounds,
        "parts": found,
    }
    print(json.dumps({key: record[key] for key in ("device", "cores", "versions")}), flush=True)
    if options.tests:
        found["tests"] = measured(lambda scale, found: run_tests(), scale, found)
        show("tests", found["tests"])
    for name, part in chosen(parts_of(scale), options.parts).items():
        spent = (time.monotonic() - began) / 60
        if spent > options.minutes:
            found[name] = {"skipped": f"{spent:.1f} of {options.minutes:g} minutes were spent"}
            print(f"\n== {name}: skipped, {found[name]['skipped']}")
        else:
            found[name] = measured(part, scale, found)
            show(name, found[name])
        record["minutes"] = (time.monotonic() - began) / 60
        write(options.json, record)
    print(f"\nwritten to {options.json}")


if __name__ == "__main__":
    main()
