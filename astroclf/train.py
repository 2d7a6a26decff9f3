"""``astroclf train``: train, test, record and register a model, or search for a better one with ``-m``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from hydra.core.plugins import Plugins

from astroclf.cli.verb import Job, Verb
from astroclf.run.folder import RunFolder
from astroclf.settings.config import Config
from astroclf.sweep.plugin import OptunaSweeper
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.run import train
else:
    train = lazy_import("astroclf.run.train")  # torch is imported only once the configuration is known to be sound

Plugins.instance().register(OptunaSweeper)


def train_one(config: Config, job: Job) -> float:
    """Train one model, from configuration to registry, and return the value that its best validation reached."""
    folder = RunFolder.resumed(config.resume) if config.resume else RunFolder.new(job.folder)
    with folder.naming_how_to_go_on():
        return train.train_together(config, folder, job.command)[config.monitor]


VERB = Verb(
    "train",
    Config,
    train_one,
    config_name="config",
    interrupted="Stopped by Ctrl-C. A run that has a checkpoint goes on with resume=RUN_FOLDER; what is cached stays.",
    follow=lambda: train.follow(),  # noqa: PLW0108 - which is loaded then
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
