"""Names and values as MLflow's tables take them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

NAME_LENGTH = 250  # characters that MLflow's tables hold
PARAM_LENGTH = 6000
RUN_TAG_LENGTH = 8000
DIGEST_LENGTH = 36

# What MLflow refuses in the names of parameters, metrics and tags: it reads them as relative paths (a colon is refused
# on Windows and by older servers only). An underscore counts where it would be read as an escape.
_FORBIDDEN = r"[^/\w.\- ]"
_ESCAPED_IN_NAMES = re.compile(
    rf"{_FORBIDDEN}|_(?=x[0-9A-F]+(?:_|{_FORBIDDEN}))|(?:^|(?<=/))/|/$|(?:^|(?<=/))\.(?=\.?(?:/|$))"
)
_NAME_END = 30  # characters that a name keeps of its end when it is cut


def valid_name(name: str) -> str:
    """Return the name itself, or one that MLflow takes and no other name has: with codes for what it refuses.

    >>> valid_name("test/Round Smooth/accuracy"), valid_name("test/Sa?/accuracy")
    ('test/Round Smooth/accuracy', 'test/Sa_x3F_/accuracy')
    """
    written = _ESCAPED_IN_NAMES.sub(lambda found: f"_x{ord(found[0]):X}_", name)
    written = written or "_x5F_"  # which no other name becomes
    if len(written) <= NAME_LENGTH:
        return written
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{written[: NAME_LENGTH - _NAME_END - len(digest) - 2]}_{digest}_{written[-_NAME_END:]}"


def limited_text(value: Any, limit: int) -> str:
    """Return a value as text of at most `limit` characters; where something is cut off, it ends in an ellipsis."""
    if isinstance(value, list | tuple | dict | bool) or value is None:
        text = json.dumps(value, default=str, ensure_ascii=False)
    else:
        text = str(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
