"""Words, keys and figures for people: what can be seen, the name nearest to a wrong one, dotted keys, minutes."""

from __future__ import annotations

import difflib
import math
import signal
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

# Marks that turn the direction of all that follows.
_TURNING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Control characters, bytes of a file's name that are no UTF-8, separators of lines and paragraphs.
_UNSEEN = ("Cc", "Cs", "Zl", "Zp")


def visible(text: str, keep: str = "") -> str:
    r"""Return a text with escapes for what has no sign of its own, or would change how the rest is shown.

    >>> print(visible("star\x1b[31m"), visible("B[e]"), visible("星系"))
    star\x1b[31m B[e] 星系

    Parameters
    ----------
    keep
        Of these characters, the ones that are left as they are.
    """
    if text.isprintable():
        return text
    return "".join(escaped(sign) if _is_unseen(sign) and sign not in keep else sign for sign in text)


def _is_unseen(sign: str) -> bool:
    return sign in _TURNING or unicodedata.category(sign) in _UNSEEN


def escaped(sign: str) -> str:
    """Return a character as Python writes it in ASCII."""
    return sign.encode("unicode_escape").decode("ascii")


def closest(name: str, valid: Iterable[str], spelling: Callable[[str], str] = str) -> list[str]:
    """Return the valid names that are most like a wrong one: two, one or none.

    Parameters
    ----------
    spelling
        What of a name is compared: names that differ only in the rest are alike.
    """
    names = {spelling(each): each for each in sorted(set(map(str, valid)))}
    return [names[key] for key in difflib.get_close_matches(spelling(name), names, n=2)]


def nearest_path(wrong: Path) -> Path | None:
    """Return the file or folder whose name is most like that of a path that is not there, in the same folder."""
    beside = [each.name for each in wrong.parent.iterdir()] if wrong.parent.is_dir() else []
    close = closest(wrong.name, beside)
    return wrong.parent / close[0] if close else None


def nearest(name: str, valid: Iterable[str]) -> str:
    """Return a sentence that names the valid names closest to `name`, or all of them."""
    names = sorted(set(map(str, valid)))
    close = closest(name, names)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Valid: {', '.join(names)}."


def did_you_mean(name: str, valid: Iterable[str], spelling: Callable[[str], str] = str) -> str:
    """Return the end of a sentence about an unknown name: a question with the closest valid one, or a full stop."""
    close = closest(name, valid, spelling)
    return f"; did you mean `{close[0]}`?" if close else "."


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration by the dotted keys that people type.

    >>> flatten({"loss": {"gamma": 2}, "seed": 0})
    {'loss.gamma': 2, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    return flat


def number(value: Any, digits: int = 3) -> str:
    """Write a figure for people: ``0.786``, or a dash where there is none."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def clock(seconds: float | None) -> str:
    """Write a time as ``3:07`` minutes, ``2:03:07`` hours, or a dash."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def roughly(seconds: float) -> str:
    """Write a time as people say it, to two digits: ``40 s``, ``9 min``, ``2.5 h``."""
    if seconds < 90:
        return f"{float(f'{seconds:.2g}'):g} s"
    minutes = seconds / 60
    return f"{float(f'{minutes:.2g}'):g} min" if minutes < 90 else f"{float(f'{minutes / 60:.2g}'):g} h"


def until(seconds: float, now: datetime | None = None) -> str:
    """Write when so many seconds will have gone by: ``14:20``, with the day if it is another: ``Sat 28 Nov 03:10``."""
    now = now or datetime.now()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == now.date() else "%a %d %b %H:%M")


def signal_name(exit_code: int | None) -> str:
    """Return the name of the signal that ended a process, such as ``SIGKILL``; nothing where it ended by itself."""
    if exit_code is None or exit_code >= 0:
        return ""
    with suppress(ValueError):
        return signal.Signals(-exit_code).name
    return ""
