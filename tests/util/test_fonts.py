"""Signs of every script in figures: drawn with an installed font, or else escaped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from astroclf.util import fonts
from astroclf.util.figures import class_labels, figure
from tests.util.nasty_names import CONTROLS, NASTY_NAMES

SIGN = "\U000f1234"  # for private use: no other font has it


def write_font(path: Path) -> None:
    """A font with one sign, a square."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (700, 700), (700, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "square"])
    builder.setupCharacterMap({ord(SIGN): "square"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "square": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "square": (800, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Squares", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)


@pytest.fixture
def squares(tmp_path: Path) -> Iterator[None]:
    """A font that somebody has installed."""
    write_font(tmp_path / "squares.ttf")
    before = list(fontManager.ttflist)
    fontManager.addfont(tmp_path / "squares.ttf")
    forget()
    yield
    fontManager.ttflist[:] = before
    forget()


def forget() -> None:
    fonts.family_with.cache_clear()
    fonts._others.cache_clear()


def test_the_base_font_draws_greek_cyrillic_and_arabic() -> None:
    for name in ("σπείρα", "галактика", "مجرة", "Boötes – …"):
        assert fonts.drawable(name) == name
        assert fonts.families(name) == [fonts.BASE_FONT]


def test_a_sign_that_no_font_has_is_written_as_an_escape() -> None:
    assert fonts.drawable(f"Sb {SIGN}") == "Sb \\U000f1234"


def test_a_sign_of_another_font_is_drawn_with_it(squares: None, tmp_path: Path) -> None:
    assert fonts.drawable(f"Sb {SIGN}") == f"Sb {SIGN}"
    assert fonts.families(f"Sb {SIGN}") == [fonts.BASE_FONT, "Squares"]
    with figure(tmp_path / "squares.png", 2, 2) as axes:
        axes.set_yticks([0], class_labels([f"Sb {SIGN}"]))  # a sign without a font would be a warning, and an error


def test_nasty_names_are_drawn_without_a_warning(tmp_path: Path) -> None:
    names = [*NASTY_NAMES, *CONTROLS]
    with figure(tmp_path / "names.png", 4, 8) as axes:
        axes.set_yticks(range(len(names)), class_labels(names))
        axes.set_title("$x^2 {")
    assert (tmp_path / "names.png").is_file()


def test_names_that_cannot_be_drawn_or_told_apart_have_their_number() -> None:
    labels = class_labels(["Sb", "x" * 40 + "a", "x" * 40 + "b", SIGN])
    assert labels == ["Sb", f"1: {'x' * 24}…", f"2: {'x' * 24}…", "3: \\U000f1234"]


def test_a_box_with_a_code_is_no_sign():
    """Matplotlib 3.11 brings a font that has such a box for every sign there is."""
    assert fonts.drawable("Sb \U0010fffd") == "Sb \\U0010fffd"
    assert fonts.families("Sb\n\U0010fffd") == [fonts.BASE_FONT]
