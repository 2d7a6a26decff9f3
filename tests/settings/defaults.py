"""Settings as the yaml files have them, for tests that are about something else."""

from __future__ import annotations

from typing import Any, TypeVar

from astroclf.settings.base import Settings
from astroclf.settings.dataset import SplitSettings
from astroclf.settings.evaluation import PromotionSettings
from astroclf.settings.training import TrainerSettings
from astroclf.settings.yaml_files import yaml_values

Chosen = TypeVar("Chosen", bound=Settings)


def default(settings: type[Chosen], **changes: Any) -> Chosen:
    """Return the settings with the defaults of their yaml file, and changes."""
    values = {
        TrainerSettings: lambda: yaml_values("trainer/default"),
        PromotionSettings: lambda: yaml_values("config")["promotion"],
        SplitSettings: lambda: yaml_values("dataset/_base"),
    }[settings]()
    return settings(**{**{key: values[key] for key in settings.declared()}, **changes})
