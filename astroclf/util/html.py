"""What every report shares: one HTML file with its pictures inside, so that it opens anywhere, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined


def render(template: Path, **values: Any) -> str:
    """Render a template, which may extend ``base.html.j2`` of this folder.

    Every value is escaped; one that the template names and the caller does not give is an error.
    """
    loader = FileSystemLoader([template.parent, Path(__file__).parent])
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined)
    return environment.get_template(template.name).render(values)
