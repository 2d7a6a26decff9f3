"""What a check leaves: a report that stands alone, a file for scripts, tables for the terminal."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from astroclf.audit.findings import Case, finding
from astroclf.audit.gallery import draw_gallery
from astroclf.audit.report import PICTURED_CASES, PICTURES_OF_A_CASE, write_audit_report
from astroclf.audit.summary import Audit, class_table, findings_table, write_summary
from astroclf.data.catalog import Catalog
from astroclf.data.decode.headers import FileFacts
from astroclf.losses.class_weights import class_weights

CLASSES = ("Merging", "Sb <[dim]barred>")


@pytest.fixture
def audit() -> Audit:
    """Eight readable samples of ten, with a finding of each severity."""
    catalog = Catalog(
        ids=np.array([f"[dim] <{row}>.png" for row in range(8)]), labels=np.array([0] * 6 + [1] * 2), classes=CLASSES
    )
    broken = [Case("broken.png: the file is empty (0 bytes).", ids=("broken.png",), labels=("Merging",))]
    copied = Case(
        "equal pixel by pixel", ids=tuple(catalog.ids[[0, 7]]), rows=(0, 7), labels=CLASSES, conflict=True
    )  # fmt: skip
    alike = Case("similarity 0.91", ids=tuple(catalog.ids), rows=tuple(range(8)), labels=("Merging",) * 8)
    return Audit(
        name="galaxies & <stars>",
        path="/data/sky",
        command="python -m astroclf.check 'x=[a,b]'",
        found=[
            *finding(
                "few tests", "note", [Case("Sb <[dim]barred>: 1", labels=("Sb <[dim]barred>",), values={"images": 1})]
            ),
            *finding("exact duplicates", "warning", [copied]),
            *finding("near duplicates", "warning", [alike] * (PICTURED_CASES + 3)),
            *finding("empty", "error", broken),
        ],
        listed=10,
        catalog=catalog,
        facts=[FileFacts("PNG", "L", 8, 30 + row, 20) for row in range(7)] + [None],
        splits={"train": np.arange(6), "val": np.array([6]), "test": np.array([7])},
        details={"data_fingerprint": "f00d"},
    )


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (8, 40, 40, 3), dtype=np.uint8)


def page_of(folder: Path, audit: Audit, images: np.ndarray | None) -> str:
    gallery = [] if images is None else draw_gallery(audit, images)
    return write_audit_report(folder, audit, images, gallery).read_text(encoding="utf-8")


def test_the_report_is_one_file_that_asks_nothing_of_the_network(tmp_path, audit, images):
    page = page_of(tmp_path, audit, images)
    sources = re.findall(r'(?:src|url)\s*[=(]\s*["\']?([^"\')\s>]+)', page)
    examples = 4 + 1 + 1  # of six PNG files, one PNG file, and one whose kind is not known
    assert len(sources) == 2 + PICTURED_CASES * PICTURES_OF_A_CASE + examples
    assert all(source.startswith("data:image/") for source in sources)
    assert "<script" not in page
    assert not re.search(r"https?://", page)


def test_the_report_shows_findings_the_gravest_first_and_links_to_them(tmp_path, audit, images):
    words = html.unescape(page_of(tmp_path, audit, images))
    for text in (
        "10 images in 2 classes, 2 of them unreadable, imbalance 3.0", "exit status 2", "labels contradict",
        "1 with contradicting labels", "And 3 more, listed in check.json", "and 2 more", "broken.png", "f00d",
        "python -m astroclf.check 'x=[a,b]'", "6 PNG L 8-bit", "30 – 33 – 35 px",
    ):  # fmt: skip
        assert text in words, text
    titles = re.findall(r'<section id="([^"]+)"', words)
    assert titles == ["empty", "exact-duplicates", "near-duplicates", "few-tests", "gallery"]
    titles.remove("gallery")  # no finding
    assert all(f'href="#{title}"' in words for title in titles)


def test_names_from_a_data_set_cannot_write_into_the_page(tmp_path, audit, images):
    page = page_of(tmp_path, audit, images)
    assert "<[dim]barred>" not in page
    assert "<stars>" not in page
    assert "<0>" not in page


@pytest.mark.parametrize("channels", [1, 3, 5])
def test_tags_are_closed_whatever_the_pictures_are(tmp_path, audit, channels):
    class Checker(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.stack: list[str] = []

        def handle_starttag(self, tag: str, attrs: object) -> None:
            if tag not in ("meta", "img"):
                self.stack.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert self.stack.pop() == tag

    checker = Checker()
    checker.feed(page_of(tmp_path, audit, np.zeros((8, 40, 40, channels), np.uint8)))
    assert checker.stack == []


def test_a_data_set_that_cannot_be_looked_at_is_reported_too(tmp_path):
    refused = Audit("sky", "/data", "check", finding("unusable", "error", [Case("line 3: the label is empty.")]))
    assert "line 3: the label is empty." in page_of(tmp_path, refused, None)
    clean = Audit("sky", "/data", "check", [])
    assert "Nothing was found" in page_of(tmp_path, clean, None)


def test_the_file_for_scripts_has_every_case_of_every_finding(tmp_path, audit):
    write_summary(tmp_path / "check.json", audit)
    saved = json.loads((tmp_path / "check.json").read_text(encoding="utf-8"))
    assert saved["status"] == 2
    assert saved["images"] == {"listed": 10, "readable": 8}
    assert [(found["kind"], found["count"], found["conflicts"]) for found in saved["findings"]] == [
        ("empty", 1, 0), ("exact duplicates", 1, 1), ("near duplicates", PICTURED_CASES + 3, 0), ("few tests", 1, 0),
    ]  # fmt: skip
    assert len(saved["findings"][2]["cases"]) == PICTURED_CASES + 3
    assert saved["findings"][1]["cases"][0]["ids"] == ["[dim] <0>.png", "[dim] <7>.png"]
    assert saved["files"]["formats"] == {"PNG L 8-bit": 7}
    assert saved["classes"][1]["test"] == 1
    expected = class_weights([6, 2], 0.9999)  # what loss=cb_focal takes
    assert [row["weight"] for row in saved["classes"]] == pytest.approx(expected.tolist(), abs=1e-4)
    assert saved["classes"][1]["effective_number"] == pytest.approx(2.0, abs=0.01)
    assert saved["imbalance"] == 3.0


def test_the_terminal_shows_names_as_they_are(audit):
    screen = Console(file=io.StringIO(), width=120)
    screen.print(class_table(audit), findings_table(audit))
    shown = screen.file.getvalue()
    assert "[dim] <0>.png = [dim] <7>.png" in shown
    assert "Sb <[dim]barred>" in shown
    assert shown.index("Empty files") < shown.index("Exact duplicates") < shown.index("Few test images")
