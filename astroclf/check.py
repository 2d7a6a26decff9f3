"""``astroclf check``: say what is wrong with a data set, before a training is spent on it."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.data import CheckConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.audit import inspection
else:
    inspection = lazy_import("astroclf.audit.inspection")  # torch is imported only once the configuration is sound


def check(config: CheckConfig, job: Job) -> int:
    """Look through one data set, and return 0 if it is clean, 1 with warnings, 2 with errors."""
    return inspection.inspect(config, job.folder, job.command)


VERB = Verb("check", CheckConfig, check, gives_status=True, error_status=2)  # 1: looked at, and has warnings
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
