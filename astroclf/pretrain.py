"""``astroclf pretrain``: let a network learn from images without labels, for trainings that begin with its weights."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.run.folder import RunFolder
from astroclf.settings.config import PretrainConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.run import pretrain as pretraining
else:
    pretraining = lazy_import("astroclf.run.pretrain")  # torch is imported only once the configuration is sound


def pretrain(config: PretrainConfig, job: Job) -> None:
    """Pretrain one network, or go on with it."""
    folder = RunFolder.resumed(config.resume) if config.resume else RunFolder.new(job.folder)
    with folder.naming_how_to_go_on():
        pretraining.pretrain(config, folder, job.command)


VERB = Verb(
    "pretrain",
    PretrainConfig,
    pretrain,
    instead={"folder": "images", "arrays": "image_arrays"},
    interrupted="Stopped by Ctrl-C. A run that has a checkpoint goes on with resume=RUN_FOLDER; what is cached stays.",
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
