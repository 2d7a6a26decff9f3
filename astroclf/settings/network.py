"""The network: its backbone, and the head between the backbone's features and the class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from astroclf.settings.base import ABSENT, FRACTION, PATH_OR_NAME, Absent, ComponentSettings, Settings, above, at_least


@dataclass(frozen=True, kw_only=True)
class BackboneSettings(ComponentSettings):
    """A backbone of ``conf/backbone``, where each key is explained."""

    section = "backbone"

    weights: Annotated[str | Absent | None, PATH_OR_NAME] = ABSENT
    grad_checkpointing: bool | Absent = ABSENT
    dropout: Annotated[float | Absent, FRACTION] = ABSENT
    stem: str | Absent = ABSENT
    width_mult: Annotated[float | Absent, above(0)] = ABSENT
    name: str | Absent = ABSENT
    drop_path: Annotated[float | Absent, FRACTION] = ABSENT


@dataclass(frozen=True, kw_only=True)
class HeadSettings(Settings):
    """The head; ``conf/config.yaml`` explains each key."""

    section = "head"

    refinement: bool
    attention: bool
    uncertainty: bool
    hidden: Annotated[int, at_least(1)]
    dropout: Annotated[float, FRACTION]
    uncertainty_weight: Annotated[float, at_least(0)]
