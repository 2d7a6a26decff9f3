"""The one function that builds objects from a config."""

from __future__ import annotations

import inspect
from dataclasses import fields
from typing import Any

from astroclf.errors import ConfigError
from astroclf.settings.components import locate
from astroclf.settings.schema import COMPONENT_KEYS, Component
from astroclf.util.text import nearest


def build(component: Component, **run_time: Any) -> Any:
    """Build a component: its class, called with the options and run-time values that its signature names.

    Options that belong to the run and not to the class (such as ``dataset.keep_images_on`` for a source) are left out;
    a key that only the class's own yaml could have brought must be one that the class takes.

    Raises
    ------
    ConfigError
        A target outside the whitelist, or an option that the class does not take.
    """
    cls = locate(component.group, component.target)
    parameters = inspect.signature(cls).parameters
    common = {f.name for group in COMPONENT_KEYS.values() for f in fields(group)} | {"name"}
    unknown = [key for key in component.options if key not in parameters and key not in common]
    if unknown:
        raise ConfigError(f"{component.target} takes no {', '.join(unknown)}. {nearest(unknown[0], parameters)}")
    given = {**component.options, **run_time}
    needed = {name for name, p in parameters.items() if p.default is p.empty and p.kind is not p.VAR_KEYWORD}
    if lacking := needed - set(given):
        raise ConfigError(f"{component.target} needs {', '.join(sorted(lacking))}, which its yaml does not give.")
    try:
        return cls(**{key: value for key, value in given.items() if key in parameters})
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{component.target} refuses its options: {error}.") from error
