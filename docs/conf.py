"""The documentation site: README, docs/ and experiments/ as they stand, and a reference from docstrings and yaml.

`make docs` builds it into docs/_build/html. Sources are read from the root of the repository, so that a link is right
here if it is right for somebody who reads the files.
"""

from __future__ import annotations

import ast
import shutil
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

from sphinx.application import Sphinx
from sphinx.util import logging

logger = logging.getLogger(__name__)
ROOT = Path(__file__).resolve().parents[1]
GENERATED = ROOT / "docs" / "_build" / "reference"
sys.path.insert(0, str(ROOT))

project = "astroclf"
author = "The astroclf developers"
root_doc = "README"
exclude_patterns = [".*", "build", "dist", "outputs", "multirun", "docs/_build/html", "experiments/*/*"]
include_patterns = ["*.md", "docs/*.md", "experiments/*.md", "docs/_build/reference/*"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_default_options = {"members": True, "show-inheritance": True}
autodoc_inherit_docstrings = False  # torch's words on `forward` say nothing about ours
add_module_names = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
napoleon_google_docstring = False
napoleon_use_rtype = False
default_role = "code"  # a name between single backticks
suppress_warnings = ["ref.python"]  # a type named in prose, such as `path`, that several classes have as an attribute

html_theme = "furo"
html_title = "astroclf"
html_show_copyright = False
html_show_sourcelink = False
html_copy_source = False

# What stands beside the pages of docs/, in the order of the site's table of contents.
CONTENTS = {
    "A user's day": [
        "docs/data", "docs/check", "docs/training", "docs/networks", "docs/recipes", "docs/sweeps", "docs/registry",
        "docs/use", "docs/results", "docs/hand_over", "docs/many_machines",
    ],
    "For engineers": ["docs/architecture", "docs/extending", "CONTRIBUTING", "CHANGELOG"],
    "Measured": ["experiments/README", "experiments/*"],
    "Reference": ["docs/_build/reference/configuration", "docs/_build/reference/*"],
}  # fmt: skip
GROUPS = (
    "dataset", "backbone", "loss", "augment", "optimizer", "scheduler", "trainer", "tracking", "experiment", "sweep",
    "hydra/sweeper", "hydra/sweeper/sampler", "hydra/sweeper/pruner",
)  # fmt: skip


def write_reference(app: Sphinx) -> None:
    """Write one page for each room of the package, one for its front doors, and one for the configuration."""
    shutil.rmtree(GENERATED, ignore_errors=True)
    GENERATED.mkdir(parents=True)
    package = ROOT / "astroclf"
    (GENERATED / "astroclf.rst").write_text(_page("astroclf", sorted(package.glob("*.py"))))
    for room in sorted(path for path in package.iterdir() if (path / "__init__.py").exists()):
        (GENERATED / f"{room.name}.rst").write_text(_page(f"astroclf.{room.name}", sorted(room.rglob("*.py"))))
    (GENERATED / "configuration.rst").write_text(_configuration())


def _page(title: str, paths: list[Path]) -> str:
    """Return a page that documents the modules in `paths` which have anything to say."""
    lines = [title, "=" * len(title), ""]
    for path in paths:
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        if name == title and ast.get_docstring(ast.parse(path.read_text())):
            lines += [f".. automodule:: {name}", "   :no-members:", ""]
        elif path.read_text().strip():
            lines += [name, "-" * len(name), "", f".. automodule:: {name}", ""]
    return "\n".join(lines)


def _configuration() -> str:
    """Return a page with every yaml file of conf/, whose comments explain each key."""
    lines = ["Configuration", "=============", ""]
    lines += ["Every key with its default and its meaning, as the files of ``conf/`` have them.", ""]
    for group in ("", *GROUPS):
        title = group or "The verbs"
        lines += [title, "-" * len(title), ""]
        for path in sorted((ROOT / "conf" / group).glob("*.yaml")):
            lines += [f".. literalinclude:: /{path.relative_to(ROOT)}", "   :language: yaml"]
            lines += [f"   :caption: {path.relative_to(ROOT)}", ""]
    return "\n".join(lines)


def skip_tuple_fields(app: Sphinx, what: str, name: str, obj: object, skip: bool, options: object) -> bool | None:
    """Leave out "Alias for field number 0": the signature of a named tuple lists its fields."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def add_contents(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the site's table of contents to README, whose file needs none."""
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            listed = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{listed}\n```\n"


class Page(HTMLParser):
    """The links, anchors and loaded files of one page of the site."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {key: value or "" for key, value in attrs}
        self.anchors |= {values[key] for key in ("id", "name") if key in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("img", "script", "iframe", "source") and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") in ("stylesheet", "icon", "preload"):
            self.loaded.append(values["href"])


def check_links(app: Sphinx, failure: Exception | None) -> None:
    """Warn of links and anchors that lead nowhere, and of what is loaded from elsewhere; `-W` makes these errors."""
    if failure is not None or app.builder.name != "html":
        return
    out = Path(app.outdir).resolve()
    (out / "index.html").write_text(f'<meta http-equiv="refresh" content="0; url={root_doc}.html">\n')
    pages = {path: Page(path) for path in sorted(out.rglob("*.html"))}
    for path, page in pages.items():
        here = path.relative_to(out)
        for link in page.links + page.loaded:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                if link in page.loaded and parts.scheme != "data":
                    logger.warning("%s loads %s", here, link)
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            known = target in pages and unquote(parts.fragment) in pages[target].anchors
            if not known and (target in pages or not target.is_file()):
                logger.warning("%s links to %s, which is not there", here, link)


def setup(app: Sphinx) -> None:
    app.connect("builder-inited", write_reference)
    app.connect("autodoc-skip-member", skip_tuple_fields)
    app.connect("source-read", add_contents)
    app.connect("build-finished", check_links)
