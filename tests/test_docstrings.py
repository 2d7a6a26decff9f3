"""Docstrings open with one whole sentence that makes sense without the name above it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import astroclf

PACKAGE = Path(astroclf.__file__).parent
MAX_WORDS = 25
STILL_FRAGMENTS = 12  # being mended, room by room
# The verbs that first lines begin with: add yours.
VERB_LIST = """
accept accumulate add adjust advance aggregate align allow anchor announce answer append apply arrange ask assemble
assign attach augment average balance begin bind block blur break bring build cache calibrate call cancel carry cast
catch change check choose clamp classify clean clear clip close collapse collect combine compare compile complete
compose compress compute concatenate configure connect construct continue convert convolve copy correct count cover
create crop cut deal decide declare decode decompress decorate deduplicate delete deliver describe detect determine
dilate disable discard divide do download draw drop embed enable encode end enqueue ensure enter enumerate escape
estimate evaluate exclude execute expand explain export extend extract fail fetch fill filter find finish fit fix
flatten flip flush fold follow forget format forward fuse gather generate get give go group guard guess halve hand
handle hash have hear hide hold identify ignore import include increase index infer inform initialise insert inspect
interpolate interpret invert join judge keep label launch lay lead learn leave let lift limit link list load locate
lock log look make map mark mask match measure melt mend merge migrate mix move multiply name narrow normalise note
notice observe offer open order pack pad paint parse partition pass paste pause persist pick pin place plan plot point
predict prefer prepare preserve print process profile promise promote propagate protect prove prune publish pull push
put quantise quote raise rank reach read rebin rebuild recall receive recognise recommend record recover redirect
reduce refer refuse register reject release remember remove rename render repeat replace report request require
reraise rescale reserve reset reshape resize resolve restore restrict resume retry return reuse reverse rewrite roll
rotate run sample save say scale scan scatter schedule score search see select send separate set settle shade shift
shorten show shrink shuffle shut signal simulate skip slice smooth solve sort speak split sprinkle stack start stop
store stream stretch strip sum summarise suspend swap switch take tell terminate test tidy train transform translate
trim try turn undo unlink unpack unwrap update upload use validate verify wait wake walk warm warn watch weigh whiten
wind word wrap write yield zero
"""
VERBS = frozenset(VERB_LIST.split())
OPENS_A_FRAGMENT = ("above", "as", "below", "for", "from", "in", "likewise", "of", "see", "such", "than", "to", "with")
VERB_AFTER_A_NOUN = ("of", "is", "are", "was", "were", "has", "have", "which", "whose", "may", "can")


class Docstring(NamedTuple):
    place: str
    kind: str  # "module", "class", "property" or "function"
    text: str


def docstrings(path: Path) -> Iterator[Docstring]:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        text = ast.get_docstring(node)
        if text is None:
            continue
        name = getattr(node, "name", "")
        kind = {"Module": "module", "ClassDef": "class"}.get(type(node).__name__, "function")
        if kind == "function":
            decorators = {ast.unparse(decorator).rpartition(".")[2] for decorator in node.decorator_list}
            if "overload" in decorators or re.fullmatch(r"__\w+__", name):
                continue
            if decorators & {"property", "cached_property", "setter"}:
                kind = "property"
        yield Docstring(f"{path.relative_to(PACKAGE.parent)}:{getattr(node, 'lineno', 1)} {name}".strip(), kind, text)


def fault(kind: str, text: str) -> str | None:
    """Say what is wrong with the first line of a docstring, or nothing."""
    line = text.split("\n", 1)[0].strip()
    if not line.endswith((".", ":", "?")):
        return "is not one whole sentence on one line"
    words = line.split()
    if len(words) >= MAX_WORDS:
        return f"has {len(words)} words"
    first = words[0].strip(".,:;()'\"")
    if kind != "function":
        fragment = (first.islower() and not line.startswith("`")) or first.lower() in OPENS_A_FRAGMENT
        return f"is a fragment: begins with '{words[0]}'" if fragment else None
    if not first.isalpha() or not first.istitle():
        return f"does not begin with a verb: '{words[0]}'"
    nominal = len(words) > 1 and words[1] in VERB_AFTER_A_NOUN
    if first.lower() not in VERBS or nominal:
        return f"does not begin with a verb in the imperative (one of VERB_LIST): '{' '.join(words[:2])}'"
    return None


def undocumented(node: ast.AST, name: str) -> Iterator[str]:
    """Yield the names of what is public below a module or class and has no docstring."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef) and not child.name.startswith("_"):
            if ast.get_docstring(child) is None:
                yield f"{name}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{name}.{child.name}")


FOUND = [docstring for path in sorted(PACKAGE.rglob("*.py")) for docstring in docstrings(path)]


def test_first_lines_are_whole_sentences():
    faults = [f"{place}: {wrong}" for place, kind, text in FOUND if (wrong := fault(kind, text))]
    assert len(faults) <= STILL_FRAGMENTS, f"{len(faults)} first lines:\n" + "\n".join(faults)


def test_what_is_public_has_a_docstring():
    files = [path for path in sorted(PACKAGE.rglob("*.py")) if path.read_text().strip()]
    trees = {str(path.relative_to(PACKAGE)): ast.parse(path.read_text()) for path in files}
    assert [name for name, tree in trees.items() if ast.get_docstring(tree) is None] == []
    missing = [found for name, tree in trees.items() for found in undocumented(tree, name)]
    assert [name for name in missing if not name.endswith(".py.main")] == []


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("function", "Of these rows."),
        ("function", "Whether a run is complete."),
        ("function", "What a config says."),
        ("function", "Returns the rows."),
        ("function", "Images of these rows."),
        ("function", "Median of the sky."),
        ("function", "Decoded pixels."),
        ("function", "Return the rows, and go on\non the next line."),
        ("function", "Return " + "very " * 24 + "much."),
        ("class", "Of these rows."),
        ("class", "as above."),
        ("module", "Helpers"),
    ],
)
def test_fragments_are_found(kind, text):
    assert fault(kind, text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("function", "Return the images of these rows."),
        ("function", "Process one file."),
        ("property", "Height, width and bands of an image."),
        ("class", "The images of a data set, kept where reading them is cheapest."),
        ("module", "`python -m astroclf.train`: train one model."),
    ],
)
def test_whole_sentences_pass(kind, text):
    assert fault(kind, text) is None
