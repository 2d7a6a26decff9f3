"""Fonts that have the signs of a text, among those that are installed; where none has, escapes stand for them."""

from __future__ import annotations

from functools import cache

from matplotlib.font_manager import FontEntry, findfont, fontManager, get_font

from astroclf.util.text import escaped, visible

BASE_FONT = "DejaVu Sans"  # comes with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and more
_REGULAR = ("normal", "regular", "book", 400)  # weights
_LAST_RESORT = "Last Resort"  # has a box with a code for each sign; matplotlib 3.11 brings one
_PREFERRED = ("Noto Sans", "Source Han Sans")  # made to look like one another, and like the base font


def families(text: str) -> list[str]:
    """Return the families that a text is drawn with: the base font, then those that have what it lacks."""
    found = (family_with(sign) for sign in text if sign != "\n")
    return list(dict.fromkeys([BASE_FONT, *filter(None, found)]))


def drawable(text: str) -> str:
    """Return a text with escapes for the signs that no installed font has."""
    return "".join(sign if sign == "\n" or family_with(sign) else escaped(sign) for sign in visible(text, keep="\n"))


@cache
def family_with(sign: str) -> str:
    """Return the family of an installed font that has a sign; empty where none has."""
    if _has(findfont(BASE_FONT), sign):
        return BASE_FONT
    return next((entry.name for entry in _others() if _has(entry.fname, sign)), "")


@cache
def _others() -> tuple[FontEntry, ...]:
    """Return one upright font of regular weight of each family that can be drawn in any size, the preferred first."""
    upright = (font for font in fontManager.ttflist if font.style == "normal" and font.weight in _REGULAR)
    drawing = (font for font in upright if font.name != BASE_FONT and not font.name.startswith(_LAST_RESORT))
    of_family = {font.name: font for font in drawing if font.size == "scalable"}
    return tuple(sorted(of_family.values(), key=lambda font: (not font.name.startswith(_PREFERRED), font.name)))


def _has(path: str, sign: str) -> bool:
    try:
        return get_font(path).get_char_index(ord(sign)) != 0
    except (OSError, RuntimeError):  # damaged, removed since, or of pictures: nothing to draw with
        return False
