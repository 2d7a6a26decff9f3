"""``astroclf evaluate``: say how good a model is on labelled images, and whether another one is better."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.asking import EvaluateConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.evaluation import job as evaluation
else:
    evaluation = lazy_import("astroclf.use.evaluation.job")  # torch is imported only once the configuration is sound


def evaluate(config: EvaluateConfig, job: Job) -> int:
    """Evaluate one model, and return 0 if all images were looked at, 1 if some were not or are no fair test."""
    return evaluation.evaluate(config, job.folder, job.command)


VERB = Verb(
    "evaluate",
    EvaluateConfig,
    evaluate,
    positional=("model", "dataset.path"),
    gives_status=True,
    error_status=2,  # 1: evaluated, and something is to be known about it
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
