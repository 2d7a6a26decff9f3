"""What is found in a data set: findings by kind, how grave each is, and the cases it is made of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from astroclf.data.cache.image_cache import ImageCache

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
EXIT_STATUS: dict[Severity, int] = {"error": 2, "warning": 1, "note": 0}


@dataclass(frozen=True)
class Case:
    """One instance of what was found.

    Attributes
    ----------
    text
        What is the matter, in words.
    ids
        The samples that it concerns; none where it concerns the data set or a class.
    rows
        Their rows in the cache, for pictures; none where they could not be read.
    labels
        Class names of the samples.
    conflict
        Whether the labels contradict each other.
    values
        The numbers in `text`, for scripts.
    """

    text: str
    ids: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    labels: tuple[str, ...] = ()
    conflict: bool = False
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Finding:
    """All cases of one kind.

    Attributes
    ----------
    kind
        One of `KINDS`, or one that only a reader's own `ImageError` or `Note` has.
    hint
        What to do about it in this data set, in words to paste; adds to `advice`.
    """

    kind: str
    severity: Severity
    cases: tuple[Case, ...]
    hint: str = ""

    @property
    def title(self) -> str:
        """The kind as a heading."""
        return KINDS.get(self.kind, (self.kind.capitalize(), ""))[0]

    @property
    def advice(self) -> str:
        """What to do about it, in a sentence or two."""
        return " ".join(filter(None, [KINDS.get(self.kind, ("", "Mend them, or leave them out."))[1], self.hint]))

    @property
    def conflicts(self) -> int:
        """The number of cases whose labels contradict each other."""
        return sum(case.conflict for case in self.cases)


def finding(kind: str, severity: Severity, cases: Iterable[Case]) -> list[Finding]:
    """Return a list of one finding; an empty one without cases."""
    found = tuple(cases)
    return [Finding(kind, severity, found)] if found else []


def case_of(
    cache: ImageCache, rows: Sequence[int] | np.ndarray, text: str, *, same_picture: bool = True, **values: Any
) -> Case:
    """Make a case of these rows; where they show the same, labels that differ are a conflict."""
    rows = [int(row) for row in rows]
    labels = tuple(cache.catalog.classes[cache.catalog.labels[row]] for row in rows)
    return Case(
        text,
        ids=tuple(str(cache.catalog.ids[row]) for row in rows),
        rows=tuple(rows),
        labels=labels,
        conflict=same_picture and len(set(labels)) > 1,
        values=values,
    )


def gathered(findings: Iterable[Finding]) -> list[Finding]:
    """Merge findings of the same kind, the graver cases first, and sort them.

    The gravest severity of a kind counts for all its cases. Errors come first; then the order is that of `KINDS`.
    """
    order = {kind: place for place, kind in enumerate(KINDS)}
    merged: dict[str, Finding] = {}
    for found in sorted(findings, key=lambda found: (SEVERITIES.index(found.severity), order.get(found.kind, -1))):
        first = merged.get(found.kind)
        merged[found.kind] = replace(first, cases=first.cases + found.cases) if first else found
    return list(merged.values())


def counted(number: int, noun: str) -> str:
    """Count something in words, such as ``1 image`` and ``1,000 images``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def exit_status(findings: Sequence[Finding]) -> int:
    """Return the status that a check ends with, by its gravest finding.

    0: nothing to mend; 1: something to look at; 2: a training would be refused, or its figures would be wrong.
    """
    return max((EXIT_STATUS[found.severity] for found in findings), default=0)


# Every kind with its title and what to do about it; the order is that of the report. docs/check.md explains each.
KINDS: dict[str, tuple[str, str]] = {
    "unusable": ("The data set cannot be used", "Do what it says and check again: the rest could not be looked at."),
    "classes missing": (
        "Classes without images",
        "Add images, correct dataset.classes, or take the classes that are there with dataset.classes=found.",
    ),
    "classes unknown": (
        "Unknown classes",
        "Rename them, add them to dataset.classes, or leave them out with dataset.exclude_classes.",
    ),
    "like classes": (
        "Classes whose names look alike",
        "If they are one, give them one name; if not, name them in dataset.classes as they are written.",
    ),
    "one class": ("Only one class", "Add images of another class, or look whether the right folder is meant."),
    "missing": ("Files that are not there", "Restore them, or take them out of the table."),
    "empty": ("Empty files", "Fetch them again or remove them."),
    "truncated": ("Truncated files", "They were copied or fetched incompletely: fetch them again or remove them."),
    "damaged": (
        "Files that cannot be read",
        "If no other program can read them, fetch them again; dataset.on_error=skip leaves them out.",
    ),
    "no image": ("Files without an image", "Remove them, or name the HDU with dataset.fits.hdu."),
    "no decoder": (
        "Files of an unknown compression",
        "Save them with another compression, such as deflate.",
    ),
    "wrong bands": ("Images with other bands", "Set dataset.channels and dataset.fits to what the files hold."),
    "too large": ("Images that are too large", "Cut them into cut-outs, or fetch them again if the header is damaged."),
    "bad pixels": (
        "Images of bad pixels",
        "Remove them, or allow more bad pixels with dataset.tone.max_bad_fraction.",
    ),
    "not read": (
        "Not read",
        "Somebody may take these for images of the data set: move them into a class folder, list them, or take them "
        "away.",
    ),
    "guessed axes": (
        "Images whose axes are a guess",
        "Look whether they show what they should. dataset.planes says which planes are meant; files with the axes in "
        "their usual order leave nothing to guess.",
    ),
    "strip": (
        "Images that are strips",
        "One side is over eight times the other: a spectrum, or axes that are no rows and columns. Look, and choose "
        "planes or HDU with dataset.planes and dataset.fits.hdu.",
    ),
    "companion": (
        "Masks, weights and the like",
        "Their names say that they belong to an image and are none. Take them out of the class folders, or name the "
        "HDU of the image with dataset.fits.hdu.",
    ),
    "several HDUs": (
        "Files with several images",
        "The first HDU with an image is taken: look whether it is the right one, and choose with dataset.fits.hdu.",
    ),
    "extra samples": (
        "Pictures with more than colors",
        "What they hold beyond red, green and blue is left out: choose with dataset.planes and dataset.channels.",
    ),
    "several frames": (
        "Files of several frames",
        "Only the first is used: save each as a file of its own, or choose with dataset.planes.",
    ),
    "constant": ("Constant images", "Nothing is to be seen in them: remove them."),
    "near-blank": (
        "Nearly blank images",
        "Next to nothing is to be seen in them: look, and remove what shows nothing.",
    ),
    "narrow range": (
        "Numbers that use little of the range from black to white",
        "Their pictures are nearly black, or nearly of one grey: take dataset.tone.interval=dataset, or "
        "dataset.tone.interval=limits with the black and white that suit them in dataset.tone.limits.",
    ),
    "beyond white": (
        "Numbers beyond white",
        "The files by which black and white were decided have smaller numbers: say both with "
        "dataset.tone.interval=limits and dataset.tone.limits, or take another interval.",
    ),
    "smaller than crop": (
        "Images smaller than the cut-out",
        "They show less sky than dataset.crop asks for, and are padded: take a smaller cut-out, or larger files.",
    ),
    "no pixel scale": (
        "Files that do not tell their pixel scale",
        "Say the arcseconds a pixel with dataset.pixel_scale, or give dataset.crop in pixels.",
    ),
    "leak": (
        "Copies across splits",
        "Give them the same split, or let dataset.near_duplicates keep copies together: tests on what was trained on "
        "look better than they are.",
    ),
    "unsplittable": ("The splits cannot be drawn", "Do what it says."),
    "exact duplicates": (
        "Exact duplicates",
        "Keep one of each; where the labels differ, at least one of them is wrong. Splits keep them together.",
    ),
    "near duplicates": (
        "Near duplicates",
        "The same picture turned, mirrored, shifted or compressed again. Keep one of each if they are copies.",
    ),
    "bands of one field": (
        "Bands of one field",
        "Each file is a sample of its own, though they show the same; splits keep those of a field together.",
    ),
    "sky leak": (
        "Neighbours on the sky across splits",
        "Their cut-outs overlap, so the test shows pieces of what was trained on: set dataset.sky_arcsec to the width "
        "of a cut-out to keep them together.",
    ),
    "sky neighbours": (
        "Neighbours on the sky",
        "Their cut-outs show the same piece of sky; dataset.sky_arcsec keeps them in one split. At one position, two "
        "labels contradict each other.",
    ),
    "give-away": (
        "Files that give their class away",
        "A network may learn where a picture comes from instead of what it shows, and look better than it is: take "
        "every class from the same sources, or make all files alike.",
    ),
    "imbalance": ("Large imbalance", "Weight the classes with loss=cb_focal, or add images to the small ones."),
    "few tests": (
        "Few test images",
        "One image more or less moves the accuracy of the class by over a tenth: add images, or read it so.",
    ),
    "few for folds": (
        "Classes with few images for the folds",
        "What the networks say of these labels rests on hardly any example: look at all of them, or add images.",
    ),
    "small images": (
        "Images much smaller than asked for",
        "A smaller dataset.image_size loses nothing and trains faster.",
    ),
    "Stokes": ("One Stokes parameter of several", "The total intensity is taken; choose with dataset.planes."),
    "remark": ("Remarks of decoders", "Nothing, if the pictures look right."),
    "ignored": ("Left aside", "Nothing: they are no images, or were left out as asked."),
    "suspicious labels": (
        "Suspicious labels",
        "To a network, another class is far more probable. Look: some labels are wrong, others show what the network "
        "cannot see.",
    ),
    "other model": ("The model does not fit", "Give one that was trained on these classes."),
}
