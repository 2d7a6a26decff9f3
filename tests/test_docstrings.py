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
# The verbs that first lines begin with: add yours.
VERB_LIST = """
add answer append apply ask augment begin bring build call cancel carry check choose classify collapse collect compare
compose compute copy count cut decide decode delete describe divide do download draw end enter estimate evaluate explain
explore fetch find fit flush gather give guess hand hear hold import initialise join judge keep lay leave let link list
load log look make map mark measure merge move name normalise note observe open paint pick place plan plot prepare
pretrain print put read rebuild record refuse register remove render replace return rotate run say scale search select
send set shift show simulate sort split sprinkle stop submit sum take tell test train transform translate try turn undo
unpack verify wait write yield
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
            is_overload = any(ast.unparse(each) == "overload" for each in child.decorator_list)
            if ast.get_docstring(child) is None and not is_overload:  # its docstring is at the function itself
                yield f"{name}.{child.name}"
            if isinstance(child, ast.ClassDef):
                yield from undocumented(child, f"{name}.{child.name}")


def test_first_lines_are_whole_sentences():
    found = [docstring for path in sorted(PACKAGE.rglob("*.py")) for docstring in docstrings(path)]
    faults = [f"{place}: {wrong}" for place, kind, text in found if (wrong := fault(kind, text))]
    assert not faults, f"{len(faults)} first lines:\n" + "\n".join(faults)


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
        ("function", "Read one file."),
        ("property", "Height, width and bands of an image."),
        ("class", "The images of a data set, kept where reading them is cheapest."),
        ("module", "`python -m astroclf.train`: train one model."),
    ],
)
def test_whole_sentences_pass(kind, text):
    assert fault(kind, text) is None
