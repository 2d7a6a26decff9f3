"""What the numbers of a run depend on beside its config: versions, commit, device."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import torch

from astroclf.util.version import __version__


def git_commit() -> str:
    """Return the commit of the code that runs, with ``-dirty`` if it was changed since; empty outside a checkout."""
    git, here = shutil.which("git"), Path(__file__)
    if git is None:
        return ""
    ours = [git, "ls-files", "--error-unmatch", here.name]  # an environment may lie in somebody else's repository
    if subprocess.run(ours, cwd=here.parent, capture_output=True, check=False).returncode != 0:
        return ""
    describe = [git, "describe", "--always", "--dirty", "--abbrev=12"]
    return subprocess.run(describe, cwd=here.parent, capture_output=True, text=True, check=False).stdout.strip()


def device_name(device: torch.device) -> str:
    """Return the GPU's name, or ``cpu``."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"


def environment(device: torch.device) -> dict[str, str]:
    """Return versions and device, by the names under which reports show them."""
    return {
        "astroclf": f"{__version__} {git_commit()}".strip(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "device": device_name(device) if device.type == "cuda" else f"CPU, {platform.machine()}",
    }
