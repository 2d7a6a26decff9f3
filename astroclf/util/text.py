"""Words for messages: the valid name that is nearest to a wrong one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that names the valid name closest to `name`, or all of them."""
    names = sorted(set(map(str, valid)))
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.6)
    return f"Did you mean {' or '.join(map(repr, close))}?" if close else f"Valid: {', '.join(names)}."
