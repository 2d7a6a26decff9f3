"""Decisions and registered models for the tests of the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from astroclf.registry.conditions import Condition
from astroclf.registry.decision import Decision
from astroclf.registry.versions import RegisteredModel

NewModel = Callable[..., RegisteredModel]


def decision(alias: str, champion_then: int | None = None, **options: Any) -> Decision:
    conditions = (Condition("reproduced", True, "to the bit"), Condition("better", None, "there is no champion"))
    return Decision(alias, "because", champion_then, champion_then, conditions, **options)
