"""``astroclf find_lr``: measure which learning rate suits an experiment, before a training is spent on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.config import FindLrConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.run import find_lr as search
else:
    search = lazy_import("astroclf.run.find_lr")  # torch is imported only once the configuration is sound


def find_lr(config: FindLrConfig, job: Job) -> None:
    """Look for the learning rate of one experiment, and print the command that trains with it."""
    search.find_lr(config, job.folder)


VERB = Verb("find_lr", FindLrConfig, find_lr)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
