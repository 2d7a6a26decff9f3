"""The parts of a benchmark, one after another: each measured, shown and written, whatever fails on the way."""

from __future__ import annotations

import argparse
import gc
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from device import inference, training
from device.race import Scale, explained

from astroclf.models.precision import make_deterministic
from astroclf.util.atomic import write_text
from astroclf.util.threads import available_cores, processor
from astroclf.util.version import __version__

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


def session_options(text: str, minutes: float, json_file: Path) -> argparse.ArgumentParser:
    """Return the parser of the options that benchmarks of a device share."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=minutes, help="no part begins after so many (%(default)s)")
    words: dict[str, Any] = {"nargs": "+", "metavar": "WORDS"}
    parser.add_argument("--parts", **words, help="only parts whose names begin with one of these, in this order")
    parser.add_argument("--without", **words, default=(), help="no contenders whose names have one of these in them")
    parser.add_argument("--rounds", type=int, help="turns of each contender, instead of 5")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes on the CPU: does it run? no figures")
    parser.add_argument("--workers", type=int, default=available_cores(), help="processes that feed the peers")
    parser.add_argument("--json", type=Path, default=json_file)
    return parser


def measure_all(parts: dict[str, Part], scale: Scale, options: argparse.Namespace) -> None:
    """Measure the chosen parts until the time is over; show each, and write all of them after each."""
    scale = replace(scale, rounds=options.rounds or scale.rounds, without=tuple(options.without))
    began, found = time.monotonic(), Found()
    record = {
        **machine(scale),
        "dry_run": options.dry_run,
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "rounds": scale.rounds,
        "parts": found,
    }
    print(json.dumps({key: record[key] for key in ("device", "cores", "versions")}), flush=True)
    for name, part in chosen(parts, options.parts).items():
        spent = (time.monotonic() - began) / 60
        if spent > options.minutes:
            found[name] = {"skipped": f"{spent:.1f} of {options.minutes:g} minutes were spent"}
            print(f"\n== {name}: skipped, {found[name]['skipped']}")
        else:
            found[name] = measured(part, scale, found)
            show(name, found[name])
        record["minutes"] = (time.monotonic() - began) / 60
        write_text(options.json, json.dumps(record, indent=1) + "\n")
    print(f"\nwritten to {options.json}")


def chosen(parts: dict[str, Part], words: Sequence[str] | None) -> dict[str, Part]:
    """Return the parts whose names begin with one of the words, in the order of these; all where there are none."""
    if words is None:
        return parts
    return {name: parts[name] for word in words for name in parts if name.startswith(word)}


def steps_part(name: str, size: int, batch: int, **options: bool) -> Part:
    return lambda scale, found: training.steps(name, size, batch, scale, found, **options)


def peers_part(name: str, size: int) -> Part:
    return lambda scale, found: training.peers(name, size, scale, found)


def answers_part(size: int, batch: int, **options: bool) -> Part:
    return lambda scale, found: inference.answers(size, batch, scale, found, **options)


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
    device: dict[str, Any] = {"name": "cpu", "processor": processor()}
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
