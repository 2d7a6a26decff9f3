"""Numbers whose grey uses next to nothing of the range from black to white: a function from a cache to findings."""

from __future__ import annotations

from astroclf.audit.findings import Case, Finding, finding
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.decode.tone import number_text, tones_from_plain

NARROW_SHARE = 0.03  # of the range from black to white that holds 99 % of the numbers: 8 of 255 grey levels


def narrow_ranges(cache: ImageCache) -> list[Finding]:
    """Find the kinds of numbers nearly all of which lie in a small part of the range from black to white."""
    cases = []
    for kind, tone in tones_from_plain(cache.tones).items():
        if tone.used_share is not None and tone.used_share < NARROW_SHARE:
            text = (
                f"{kind}: 99 % of the numbers lie in {tone.used_share:.1%} of the range from {number_text(tone.low)} "
                f"(black) to {number_text(tone.high)} (white)"
            )
            cases.append(Case(text, values={"numbers": kind, "used_share": tone.used_share}))
    return finding("narrow range", "warning", cases)
