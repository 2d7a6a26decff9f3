"""What every report shares: one HTML file with its pictures inside, so that it opens anywhere, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from astroclf.util.text import visible


def render(template: Path, **values: Any) -> str:
    """Render a template, which may extend ``base.html.j2`` of this folder.

    Every value is escaped, control characters so that they are seen. One that the template names and the caller does
    not give is an error.
    """
    loader = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, finalize=_finalize)
    return environment.get_template(template.name).render(values)


def _finalize(value: Any) -> Any:
    if isinstance(value, Markup):  # what a macro wrote, of values that have gone through here
        return value
    return visible(value, keep="\n\t") if isinstance(value, str) else value
