"""The one function that builds objects from a config."""

from __future__ import annotations

from typing import Any

from astroclf.errors import ConfigError
from astroclf.settings.base import FOR_THE_RUN, READING, ComponentSettings
from astroclf.settings.components import locate, parameters_of
from astroclf.util.text import nearest


def build(settings: ComponentSettings, **run_time: Any) -> Any:
    """Build a component: its class, called with the settings and run-time values that its signature names.

    Every setting must be taken by somebody: by the class, or by the run itself (such as ``dataset.keep_images_on``).

    Parameters
    ----------
    run_time
        What the run offers; a class takes what it names of it.

    Raises
    ------
    ConfigError
        A target outside the whitelist, or a key that neither the class nor the run takes.
    """
    cls = locate(settings.section, settings.target)
    named, of_the_run, values = parameters_of(cls), settings.marked(FOR_THE_RUN), settings.values()
    if "reading" in named:
        of_the_run |= settings.marked(READING)
    unknown = [key for key in values if key not in named and key not in of_the_run]
    if unknown and "**" not in named:
        raise ConfigError(f"{settings.target} takes no {', '.join(unknown)}. {nearest(unknown[0], named)}")
    given = {key: value for key, value in values.items() if key in named or key not in of_the_run}
    given |= {key: value for key, value in run_time.items() if key in named}
    if lacking := {key for key, p in named.items() if p.default is p.empty} - {"**", *given}:
        raise ConfigError(f"{settings.target} needs {', '.join(sorted(lacking))}, which its yaml does not give.")
    try:
        return cls(**given)
    except (ValueError, IndexError) as error:
        raise ConfigError(f"{settings.target} refuses its options: {error}.") from error
