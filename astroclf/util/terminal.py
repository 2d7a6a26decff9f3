"""Names and paths as rich shows them: as they are, whatever script, brackets or control characters they hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.text import Text

from astroclf.util.output import encodable
from astroclf.util.text import visible


def console(**options: Any) -> Console:
    """Return a console on which brackets and colons are nothing but themselves."""
    return Console(markup=False, emoji=False, highlight=False, **options)


def plain(text: str, style: str = "") -> Text:
    """Return a text in which nothing is taken for markup or control codes, for a title or a line."""
    return Text(visible(text), style)


@dataclass(frozen=True)
class Plain:
    """A cell of a table with a text in which nothing is taken for markup, as wide as the terminal's encoding has it."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the text as this console can show it."""
        yield self._shown(options)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return how wide the text is on this console."""
        return Measurement.get(console, options, self._shown(options))

    def _shown(self, options: ConsoleOptions) -> Text:
        return Text(encodable(visible(self.text), options.encoding), self.style)
