"""Who started this process, and the command that they typed."""

from __future__ import annotations

import getpass
import os
import shlex
import sys
from pathlib import Path


def use_utf8() -> None:
    """Make Python read names of files as UTF-8 where its locale knows ASCII alone, as that of ``LC_ALL=C`` does.

    The process starts again for it: what such names are read as is settled before any code runs. The terminal keeps its
    encoding.
    """
    if sys.getfilesystemencoding() != "ascii" or sys.flags.ignore_environment:
        return
    os.environ["PYTHONUTF8"] = "1"
    os.environ.setdefault("PYTHONIOENCODING", "ascii")
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def command_line() -> str:
    """Return the command that this process was started with, as it can be typed again."""
    module = _module()
    if module is not None and "-m" in sys.orig_argv:
        name, first = f"python -m {module}", sys.orig_argv.index("-m") + 2
    else:
        name, first = Path(sys.argv[0]).name, len(sys.orig_argv) - len(sys.argv) + 1
    return " ".join([name, *map(shlex.quote, sys.orig_argv[first:])])


def program(verb: str) -> str:
    """Return how a verb was called, for messages that say what to type: ``astroclf train``, where nothing else is."""
    module = _module()
    if module == f"astroclf.{verb}":
        return f"python -m {module}"
    return f"python -m astroclf {verb}" if module == "astroclf" else f"astroclf {verb}"


def _module() -> str | None:
    """Return the name that stands after ``python -m``; None for a script."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return None if spec is None else spec.name.removesuffix(".__main__")


def user_name() -> str:
    """Return the name of whoever runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user id has no name
        return "unknown"
