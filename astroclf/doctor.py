"""``astroclf doctor``: try what a training needs of the place it will run at."""

from __future__ import annotations

import sys
import textwrap
from typing import TYPE_CHECKING

from astroclf.cli.verb import Job, Verb
from astroclf.settings.config import DoctorConfig
from astroclf.util.lazy import lazy_import
from astroclf.util.text import visible

if TYPE_CHECKING:
    from astroclf.run import probes
    from astroclf.sweep import rehearsal
    from astroclf.util import watched
else:
    probes = lazy_import("astroclf.run.probes")  # torch and MLflow are imported only once the configuration is sound
    rehearsal = lazy_import("astroclf.sweep.rehearsal")
    watched = lazy_import("astroclf.util.watched")


def doctor(config: DoctorConfig, job: Job) -> int:
    """Try one thing after the other and print what came of each; returns 1 if something that is needed fails."""
    study = rehearsal.probe(config.storage, config.seconds)
    tried = [*probes.of_record(config), study, *probes.of_machine(config)]
    faults = 0
    for probe, answer in zip(tried, watched.answers([probe.call for probe in tried]), strict=True):
        line, below = probe.told(answer)
        print(visible(line))
        if below:
            print(textwrap.indent(textwrap.fill(visible(below), 98, break_long_words=False), "  "))
        sys.stdout.flush()  # the next may take its time
        faults += probe.is_fault(answer)
    return 1 if faults else 0


VERB = Verb("doctor", DoctorConfig, doctor, gives_status=True, only_prints=True)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
