"""Where runs are recorded, and models registered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from astroclf.settings.base import ABSENT, CHANGEABLE, FOR_THE_RUN, PATH, STORE, Absent, ComponentSettings


@dataclass(frozen=True, kw_only=True)
class TrackingSettings(ComponentSettings):
    """A tracker of ``conf/tracking``, where each key is explained."""

    section = "tracking"

    uri: Annotated[str | Absent, STORE, CHANGEABLE] = ABSENT
    experiment: str | Absent = ABSENT
    artifact_root: Annotated[str | Absent | None, PATH] = ABSENT
    run_name: str | Absent | None = ABSENT
    system_metrics: Annotated[bool | Absent, CHANGEABLE] = ABSENT
    system_metrics_seconds: Annotated[float | Absent, CHANGEABLE] = ABSENT
    tensorboard: Annotated[bool | Absent, CHANGEABLE] = ABSENT
    register: Annotated[bool | Absent, FOR_THE_RUN, CHANGEABLE] = ABSENT
    model_name: Annotated[str | Absent | None, FOR_THE_RUN, CHANGEABLE] = ABSENT
