"""``astroclf explore``: images on a map as a model sees them, what is like what, and what to label next."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.asking import ExploreConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.explore import job as exploring
else:
    exploring = lazy_import("astroclf.use.explore.job")  # torch is imported only once the configuration is sound


def explore(config: ExploreConfig, job: Job) -> int:
    """Explore images, and return 0 if all could be read, 1 if some could not."""
    return exploring.explore(config, job.folder, job.command)


VERB = Verb(
    "explore",
    ExploreConfig,
    explore,
    positional=("model", "inputs"),
    takes_many=True,
    gives_status=True,
    error_status=2,  # 1: done, but for images that cannot be read
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
