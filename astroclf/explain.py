"""``astroclf explain``: where a trained model looked in images, as heat maps of the classes."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.asking import ExplainConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.explain import job as explaining
else:
    explaining = lazy_import("astroclf.use.explain.job")  # torch is imported only once the configuration is sound


def explain(config: ExplainConfig, job: Job) -> int:
    """Explain images, and return 0 if all could be read, 1 if some could not, 2 if none could."""
    return explaining.explain(config, job.folder, job.command)


VERB = Verb(
    "explain",
    ExplainConfig,
    explain,
    positional=("model", "inputs"),
    takes_many=True,
    gives_status=True,
    error_status=2,  # 1: done, but for images that cannot be read
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
