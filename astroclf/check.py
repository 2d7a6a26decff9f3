"""``python -m astroclf.check``: what is wrong with a data set, before a training is spent on it."""

from __future__ import annotations

import sys
import traceback

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from astroclf.cli.application import one_paragraph, run_command
from astroclf.config.compose import checked_as
from astroclf.settings.config import CheckConfig
from astroclf.settings.yaml_files import config_dir
from astroclf.util.invocation import command_line

FAILED = 2  # 1 says that the data set was looked at, and has warnings
_statuses: list[int] = []  # of the checks of this process: several with -m


@hydra.main(config_path=str(config_dir()), config_name="check", execution_whitelist=["astroclf.*"])
@one_paragraph
def job(composed: DictConfig) -> int:
    """One check from config to report; returns 0 clean, 1 warnings, 2 errors."""
    config = checked_as(CheckConfig, composed)
    from astroclf.audit.inspection import inspect

    status = inspect(config, folder=HydraConfig.get().runtime.output_dir, command=command_line())
    _statuses.append(status)
    return status


def main() -> None:
    """Check, and end the process with the gravest status; whatever keeps a check from its end is an error."""
    try:
        run_command(job, "check")
    except SystemExit as stop:
        raise SystemExit(FAILED if stop.code == 1 else stop.code) from None
    except Exception:
        traceback.print_exc()
        raise SystemExit(FAILED) from None
    sys.exit(max(_statuses, default=0))


if __name__ == "__main__":
    main()
