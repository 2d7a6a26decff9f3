"""``python -m astroclf.train``: train, test, record and register one model."""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf import DictConfig

from astroclf.cli.application import checked, one_paragraph, run_command
from astroclf.run.folder import RunFolder
from astroclf.settings.yaml_files import config_dir
from astroclf.sweep.plugin import OptunaSweeper
from astroclf.util.invocation import command_line

Plugins.instance().register(OptunaSweeper)


@hydra.main(
    config_path=str(config_dir()),
    config_name="config",
    execution_whitelist=["astroclf.*"],  # for the logging handlers in conf/hydra; `config.build` has its own
)
@one_paragraph
def job(composed: DictConfig) -> float:
    """One run from config to registered model; returns the objective of its best validation."""
    config = checked(composed)
    from astroclf.run.train import train  # torch is imported only once the config is known to be sound

    folder = RunFolder.resumed(config.resume) if config.resume else RunFolder.new(HydraConfig.get().runtime.output_dir)
    return train(config, folder, command_line())[config.monitor]


def main() -> None:
    run_command(job)


if __name__ == "__main__":
    main()
