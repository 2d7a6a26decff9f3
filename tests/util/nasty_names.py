"""Names that classes and files may have, and that something or other takes for its own."""

from __future__ import annotations

from hypothesis import strategies as st

NASTY_NAMES = (
    "B[e]",
    "a[/b]",
    "[bold red]x[/]",
    ":star:",
    "{name}",
    "%s",
    "<b>galaxy</b>",
    "\"quoted\" & 'so'",
    "</td><script>alert(1)</script>",
    "=1+1",
    "$x^2$ $",
    "a\\b",
    "星系",
    "σπείρα",
    "مجرة",
    "🌌",
    "x" * 300,
    "two words",
    "Sa/Sb",
)
CONTROLS = ("tab\there", "line\nbreak", "red\x1b[31m", "bell\x07", "\u202eturned")
ANY_NAME = st.one_of(
    st.sampled_from(NASTY_NAMES), st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=60)
)
