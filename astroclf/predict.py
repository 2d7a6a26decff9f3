"""``astroclf predict``: a trained model's answers on files that nobody has labelled, as a table."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.asking import PredictConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.predict import job as predicting
else:
    predicting = lazy_import("astroclf.use.predict.job")  # torch is imported only once the configuration is sound


def predict(config: PredictConfig, job: Job) -> int:
    """Classify images, and return 0 if all could be read, 1 if some could not, 2 if none could."""
    return predicting.predict(config, job.command)


VERB = Verb(
    "predict",
    PredictConfig,
    predict,
    positional=("model", "inputs"),
    takes_many=True,
    gives_status=True,
    error_status=2,  # 1: done, but for images that cannot be read
    interrupted="Stopped by Ctrl-C. The same command goes on from where it was.",
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
