"""Commands on a real disk that is too small, or read-only: a tmpfs in a mount namespace of this test's own.

    unshare -rm python -m tests.small_disk FOLDER '[{"kib": 900, "words": ["train", …]}, …]'

Each command runs in FOLDER, on a new tmpfs of so many KiB (`null`: a read-only one). Then there is room, and it is gone
on with: with `resume=` where it has left a checkpoint, else as it was typed. Prints a line of JSON for each.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.faults import in_child

ROOM_KIB = 600_000
NAMESPACE = ["unshare", "--user", "--map-root-user", "--mount"]


def is_possible() -> bool:
    """Tell whether this user may mount a disk in a namespace."""
    try:
        tried = [*NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"]
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def on_small_disks(folder: Path, commands: list[dict[str, Any]], environment: dict[str, str]) -> list[dict[str, Any]]:
    """Run commands as this module's head says; returns what each line of JSON says."""
    done = subprocess.run(
        [*NAMESPACE, sys.executable, "-m", "tests.small_disk", str(folder), json.dumps(commands)],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def _mount(folder: Path, options: str, *, again: bool = False) -> None:
    what = ["-o", f"remount,{options}"] if again else ["-t", "tmpfs", "-o", options, "none"]
    subprocess.run(["mount", *what, folder], check=True)


def _run(folder: Path, words: list[str], output: Path) -> tuple[int, str]:
    def work() -> None:
        os.chdir(folder)
        sys.stdout = sys.stderr = io.TextIOWrapper(output.open("wb"), write_through=True)
        sys.argv[:] = ["astroclf", *words]
        from astroclf.__main__ import main

        status = main()
        sys.stderr.flush()
        os._exit(status)

    return in_child(work), output.read_text(errors="replace")


def _main() -> None:
    folder, output = Path(sys.argv[1]), Path(f"{sys.argv[1]}.txt")
    import torch

    import astroclf.run.train  # noqa: F401  # imported once, for all

    torch.set_num_threads(1)
    for command in json.loads(sys.argv[2]):
        size, words = command["kib"], command["words"]
        _mount(folder, "size=64k,ro" if size is None else f"size={size}k")
        status, said = _run(folder, words, output)
        left = [str(path.relative_to(folder)) for path in folder.rglob(".*.tmp*")]
        _mount(folder, f"rw,size={ROOM_KIB}k", again=True)
        kinds = ("runs", "pretraining")
        checkpoints = [path for kind in kinds for path in folder.glob(f"experiments/{kind}/*/*/checkpoints/last.pt")]
        again = [words[0], f"resume={checkpoints[0].parent.parent}"] if checkpoints else words
        again_status, again_said = _run(folder, again, output)
        histories = [path.read_text() for path in folder.glob("experiments/runs/*/*/history.csv")]
        result = {
            "kib": size, "status": status, "said": said, "left": left, "resumed": bool(checkpoints),
            "again": again_status, "again_said": again_said, "history": histories[-1:],
        }  # fmt: skip
        print(json.dumps(result), flush=True)
        subprocess.run(["umount", "--lazy", folder], check=True)  # what a sweep started may take a moment to end


if __name__ == "__main__":
    _main()
