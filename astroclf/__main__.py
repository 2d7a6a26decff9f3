"""The command ``astroclf``: the verbs of astroclf under one name."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from astroclf.cli.errors import report, report_lost, wants_traceback
from astroclf.cli.verbs import find_verb, overview
from astroclf.errors import AstroclfError
from astroclf.util.invocation import use_utf8
from astroclf.util.lazy import lazy_import
from astroclf.util.output import unfailing_output
from astroclf.util.version import __version__

if TYPE_CHECKING:
    from astroclf.cli import completion
else:
    completion = lazy_import("astroclf.cli.completion")  # Hydra takes a quarter of a second


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what a verb says, or list the verbs; returns the exit status."""
    if arguments is None:
        use_utf8()
    first, *rest = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if first in ("-h", "--help", "help") and rest:
        first, rest = rest[0], ["--help", *rest[1:]]
    with unfailing_output() as output:
        try:
            if first in ("-h", "--help", "help"):
                print(overview())
            elif first == "--version":
                print(f"astroclf {__version__}")
            elif first.startswith("--completion"):
                print(completion.completion(first.partition("=")[2] or "".join(rest[:1])))
            else:
                return find_verb(first).main(rest)
        except AstroclfError as error:
            if wants_traceback():
                raise
            return report(error)
        sys.stdout.flush()
        return int(report_lost(output))


if __name__ == "__main__":
    sys.exit(main())
