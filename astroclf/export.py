"""``astroclf export``: write a trained model in a form that others take."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.records import ExportConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.export import job as exporting
else:
    exporting = lazy_import("astroclf.use.export.job")  # torch is imported only once the configuration is sound


def export(config: ExportConfig, job: Job) -> None:
    """Write one model in one form, and say what was written."""
    print(exporting.export(config))


VERB = Verb(
    "export",
    ExportConfig,
    export,
    positional=("model", "output"),
    interrupted="Stopped by Ctrl-C. Nothing was written.",
)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
