"""The tests that need a CUDA device, run by pytest beside the benchmark."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree import ElementTree

from astroclf.util.threads import available_cores

ROOT = Path(__file__).parents[2]
LONGEST = 150  # seconds
PROCESSES = 6


def run_tests() -> dict[str, Any]:
    """Run the tests that are marked ``gpu``, and count; files whose packages are missing are named."""
    files = [path for path in sorted((ROOT / "tests").rglob("test_*.py")) if "tests.on_gpu" in path.read_text()]
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-m", "gpu and not slow", "-q", "--continue-on-collection-errors"]
        command += ["-p", "no:cacheprovider", f"--junitxml={report}", *map(str, files)]
        if find_spec("xdist") is not None:
            command += ["-n", str(min(PROCESSES, available_cores())), "--dist", "loadfile"]
        path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
        try:
            done = subprocess.run(
                command,
                cwd=ROOT,
                env=os.environ | {"PYTHONPATH": path},
                capture_output=True,
                text=True,
                timeout=LONGEST,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return {"error": f"not done after {LONGEST} s", "files": len(files)}
        if not report.is_file():
            return {"error": done.stdout[-1000:] + done.stderr[-1000:], "files": len(files)}
        cases = [*ElementTree.parse(report).iter("testcase")]
    kinds: dict[str, list[str]] = {"failure": [], "error": [], "skipped": [], "passed": []}
    for case in cases:
        kind = next((child.tag for child in case if child.tag in kinds), "passed")
        kinds[kind].append(f"{case.get('classname')}.{case.get('name')}")
    counts = {kind: len(names) for kind, names in kinds.items()}
    return {"files": len(files), **counts, "names": kinds["failure"] + kinds["error"]}
