"""Errors as the user reads them: one paragraph on stderr."""

from __future__ import annotations

import os
import sys
import textwrap

from astroclf.errors import AstroclfError, Interrupted
from astroclf.util.output import Output
from astroclf.util.text import visible


def report(error: AstroclfError) -> int:
    """Print an error as one paragraph on stderr, and return the exit status."""
    width = min(100, max(40, os.get_terminal_size().columns)) if sys.stderr.isatty() else 100
    label = "" if isinstance(error, Interrupted) else "Error: "
    paragraphs = visible(f"{label}{error}", keep="\n").split("\n")
    lines = [  # an indented line is a command to copy: never broken
        text if text.startswith("  ") else textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        for text in paragraphs
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, Interrupted) else 1


def report_lost(output: Output) -> bool:
    """Say on stderr that what was printed is not where it was to go, if so, and return whether it is."""
    if output.fault:
        print(f"Not all that was to be printed could be written: {output.fault}.", file=sys.stderr)
    return bool(output.fault)


def wants_traceback() -> bool:
    """Return whether HYDRA_FULL_ERROR asks for the traceback of every error."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")
