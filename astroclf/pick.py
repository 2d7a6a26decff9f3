"""``astroclf pick``: say which pretrained network suits a data set, before a training is spent on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.config import PickConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.run import pick as comparison
else:
    comparison = lazy_import("astroclf.run.pick")  # torch is imported only once the configuration is sound


def pick(config: PickConfig, job: Job) -> None:
    """Compare networks for one experiment, and print the command that trains the best of them."""
    comparison.pick(config, job.folder)


VERB = Verb("pick", PickConfig, pick)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
