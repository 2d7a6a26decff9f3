"""Who started this process, and the command that they typed."""

from __future__ import annotations

import getpass
import shlex
import sys
from pathlib import Path


def command_line() -> str:
    """Return the command that this process was started with, as it can be typed again."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    if spec is not None and "-m" in sys.orig_argv:
        name, first = f"python -m {spec.name}", sys.orig_argv.index("-m") + 2
    else:
        name, first = Path(sys.argv[0]).name, len(sys.orig_argv) - len(sys.argv) + 1
    return " ".join([name, *map(shlex.quote, sys.orig_argv[first:])])


def user_name() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user id has no name
        return "unknown"
