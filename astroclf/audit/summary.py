"""An audit: what a data set is and what was found in it, as ``check.json`` for scripts and tables for the terminal."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text

from astroclf.audit.findings import Finding, Severity, counted, exit_status, gathered
from astroclf.audit.notes import by_reason
from astroclf.data.catalog import Catalog, LeftOut
from astroclf.data.decode.headers import FileFacts
from astroclf.evaluation.shift import COLUMNS, Shift
from astroclf.losses.class_weights import balanced_weights, effective_numbers
from astroclf.util.atomic import write_text
from astroclf.util.terminal import Plain, plain

SCHEMA_VERSION = 1  # of check.json: raise it when a key changes its meaning
EFFECTIVE_NUMBER_BETA = 0.9999  # as in conf/loss/cb_focal.yaml
STATUS_WORDS = ("clean", "warnings", "errors")
IDS_SHOWN = 2  # in the terminal
SEVERITY_COLORS: dict[Severity, str] = {"error": "red", "warning": "yellow", "note": "blue"}


@dataclass(frozen=True)
class ClassRow:
    """One class: its readable images, and what its files are."""

    name: str
    images: int
    share: float
    effective_number: float
    weight: float  # class-balanced, of the mean class 1
    splits: Mapping[str, int]
    formats: Mapping[str, int]  # such as "JPEG RGB 8-bit", most frequent first
    sizes: tuple[int, int, int] | None  # shortest, median and longest of the longest sides, pixels


@dataclass(frozen=True)
class Audit:
    """What is known of a data set and what was found in it.

    Attributes
    ----------
    name, path, command
        Of the data set, and what was typed to check it.
    found
        All findings.
    listed
        Samples that the data set lists, readable or not.
    catalog
        Those that can be read; None where nothing could be looked at.
    facts
        Of the files of `catalog`, row by row; empty where the reader has none.
    splits
        Rows of train, val and test; None where they cannot be drawn.
    left_out
        What lies in the folder and is no sample.
    details
        Fingerprints, versions and the like, for the records.
    shift
        How far the images are from those of ``reference=``; None where nothing was compared.
    """

    name: str
    path: str
    command: str
    found: Sequence[Finding]
    listed: int = 0
    catalog: Catalog | None = None
    facts: Sequence[FileFacts | None] = ()
    splits: Mapping[str, np.ndarray] | None = None
    left_out: Sequence[LeftOut] = ()
    details: Mapping[str, str] = field(default_factory=dict)
    shift: Shift | None = None

    @property
    def status(self) -> int:
        """What the command ends with: 0 clean, 1 warnings, 2 errors."""
        return exit_status(self.found)

    @cached_property
    def findings(self) -> list[Finding]:
        """All findings, one for each kind, the gravest first."""
        return gathered(self.found)

    def count(self, severity: Severity) -> int:
        """Count the kinds of findings of this severity."""
        return sum(found.severity == severity for found in self.findings)

    @cached_property
    def classes(self) -> list[ClassRow]:
        """Every class, in label order."""
        return [] if self.catalog is None else [self._class_row(label) for label in range(len(self.catalog.classes))]

    @cached_property
    def imbalance(self) -> float:
        """Images of the largest class over those of the smallest that has any; 1 without classes."""
        counts = [row.images for row in self.classes if row.images]
        return max(counts) / min(counts) if counts else 1.0

    def _class_row(self, label: int) -> ClassRow:
        assert self.catalog is not None
        rows = np.flatnonzero(self.catalog.labels == label)
        facts = [fact for row in rows.tolist() if self.facts and (fact := self.facts[row]) is not None]
        longest = np.sort([max(fact.width, fact.height) for fact in facts])
        return ClassRow(
            name=self.catalog.classes[label],
            images=len(rows),
            share=len(rows) / max(1, len(self.catalog)),
            effective_number=float(self._effective[label]),
            weight=float(self._weights[label]),
            splits={name: int(np.isin(rows, of).sum()) for name, of in (self.splits or {}).items()},
            formats=dict(Counter(format_words(fact) for fact in facts).most_common()),
            sizes=(int(longest[0]), int(longest[len(longest) // 2]), int(longest[-1])) if len(longest) else None,
        )

    @cached_property
    def _effective(self) -> np.ndarray:
        assert self.catalog is not None
        return effective_numbers(self.catalog.class_counts(), EFFECTIVE_NUMBER_BETA)

    @cached_property
    def _weights(self) -> np.ndarray:
        assert self.catalog is not None
        return balanced_weights(self.catalog.class_counts(), EFFECTIVE_NUMBER_BETA)


def format_words(fact: FileFacts) -> str:
    """Describe what a file is, such as ``PNG L 8-bit`` or ``FITS int16``."""
    words = f"{fact.format} {fact.mode}"
    return words if words.endswith(str(fact.bits)) else f"{words} {fact.bits}-bit"


def summary(audit: Audit) -> dict[str, Any]:
    """Return the audit as plain values, with every case of every finding; docs/check.md explains each key."""
    known = [fact for fact in audit.facts if fact is not None]
    return {
        "schema": SCHEMA_VERSION,
        "status": audit.status,
        "command": audit.command,
        "dataset": {"name": audit.name, "path": audit.path, **audit.details},
        "images": {"listed": audit.listed, "readable": 0 if audit.catalog is None else len(audit.catalog)},
        "left_out": by_reason(audit.left_out),
        "classes": [
            {
                "name": row.name,
                "images": row.images,
                "effective_number": round(row.effective_number, 2),
                "weight": round(row.weight, 4),
                **row.splits,
            }
            for row in audit.classes
        ],
        "imbalance": round(audit.imbalance, 3),
        "reference": None if audit.shift is None else audit.shift.to_plain(),
        "files": {
            "formats": dict(Counter(format_words(fact) for fact in known).most_common()),
            "sizes": dict(Counter(f"{fact.width}x{fact.height}" for fact in known).most_common()),
        },
        "findings": [
            {
                "kind": found.kind,
                "severity": found.severity,
                "title": found.title,
                "advice": found.advice,
                "count": len(found.cases),
                "conflicts": found.conflicts,
                "cases": [
                    {
                        "text": case.text,
                        "ids": list(case.ids),
                        "labels": list(case.labels),
                        "conflict": case.conflict,
                        **case.values,
                    }
                    for case in found.cases
                ],
            }
            for found in audit.findings
        ],
    }


def write_summary(path: str | Path, audit: Audit) -> None:
    """Write ``check.json``, which is for scripts."""
    write_text(path, json.dumps(summary(audit), indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def class_table(audit: Audit) -> Table:
    """List the classes with their counts, for the terminal."""
    title = plain(f"{audit.name}: {audit_sentence(audit)}", "bold")
    table = Table(title=title, title_justify="left", pad_edge=False)
    table.add_column("class", overflow="fold")
    for name in ("images", "share", "effective", "weight", *(audit.splits or ())):
        table.add_column(name, justify="right")
    for row in audit.classes:
        numbers = (f"{row.images:,}", f"{row.share:.1%}", f"{row.effective_number:,.1f}", f"{row.weight:.2f}")
        table.add_row(Plain(row.name), *numbers, *(f"{count:,}" for count in row.splits.values()))
    return table


def findings_table(audit: Audit) -> Table:
    """List the kinds of findings with the first cases of each, for the terminal."""
    table = Table(title="Findings", title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("")
    table.add_column("what")
    table.add_column("cases", justify="right")
    table.add_column("the first", overflow="fold", ratio=1)
    for found in audit.findings:
        conflicts = f", {found.conflicts} with contradicting labels" if found.conflicts else ""
        shown = "; ".join(_first_words(case.ids, case.text) for case in found.cases[:IDS_SHOWN])
        more = "; …" if len(found.cases) > IDS_SHOWN else ""
        severity = Text(found.severity, SEVERITY_COLORS[found.severity])
        table.add_row(severity, Plain(found.title + conflicts), f"{len(found.cases):,}", Plain(shown + more))
    return table


def shift_table(shift: Shift) -> Table:
    """List the statistics of the images beside those of the reference, for the terminal."""
    title = plain(f"{shift.images:,} of these images beside {shift.others:,} of {shift.other}", "bold")
    table = Table(title=title, title_justify="left", pad_edge=False)
    for place, name in enumerate(COLUMNS):
        table.add_column(name, justify="right" if place else "left")
    for row in shift.rows():
        table.add_row(*map(Plain, row))
    return table


def write_shift(path: Path, shift: Shift) -> None:
    """Write the statistics of the images beside those of the reference as CSV."""
    names = ("statistic", "here", "reference", "ks", "p_value")
    lines = [f"{each.name},{each.here:.7g},{each.there:.7g},{each.distance:.7g},{each.p_value:.7g}"
             for each in shift.differences]  # fmt: skip
    write_text(path, "\n".join([",".join(names), *lines]) + "\n")


def _first_words(ids: Sequence[str], text: str) -> str:
    return " = ".join(ids[:IDS_SHOWN]) + (" …" if len(ids) > IDS_SHOWN else "") if ids else text


def audit_sentence(audit: Audit) -> str:
    """Sum an audit up, such as ``1,000 images in 10 classes, 3 of them unreadable, imbalance 7.9``."""
    words = counted(audit.listed, "image")
    if audit.catalog is None:
        return f"{words}, none of which could be looked at" if audit.listed else "nothing could be looked at"
    unreadable = audit.listed - len(audit.catalog)
    words += f" in {len(audit.catalog.classes)} classes"
    words += f", {unreadable:,} of them unreadable" if unreadable else ""
    return f"{words}, imbalance {audit.imbalance:.1f}"
