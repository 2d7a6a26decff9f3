"""``astroclf runs``: list the runs that there are, lay two of them beside each other, report one again."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.verbs.records import RunsConfig
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from astroclf.use.runs import job as looking
else:
    looking = lazy_import("astroclf.use.runs.job")  # MLflow is imported only once the configuration is sound


def runs(config: RunsConfig, job: Job) -> None:
    """Print the table of runs or what sets two of them apart, or write the report of one again."""
    looking.list_or_compare(config)


VERB = Verb("runs", RunsConfig, runs, positional=("action", "one", "other"), only_prints=True)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
