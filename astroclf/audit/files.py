"""What is wrong with the files of a data set and the pictures in them: functions from its catalog to findings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from astroclf.audit.findings import Case, Finding, Severity, case_of, counted, finding
from astroclf.data.cache.image_cache import ImageCache, Skipped
from astroclf.data.catalog import Catalog
from astroclf.data.decode.headers import FileFacts
from astroclf.data.decode.original import thumbnail
from astroclf.data.decode.values import numbers

# A picture is nearly blank if fewer than BLANK_PIXELS of its thumbnail's 4,096 pixels differ by more than BLANK_LEVELS
# (of 255) from their median. Of 2,565 real images (Galaxy10 DECaLS, ESA/Hubble, telescope cut-outs of 64 px, charts)
# the faintest, a comet lost in the sky, has three pixels 22 levels away.
BLANK_LEVELS = 8
BLANK_PIXELS = 3
MAX_GAIN_FROM_HEADERS = 0.2  # by which headers alone may beat the most frequent class, as a share of all files
SMALL_SHARE = 0.5  # of the image size asked for


def unreadable_files(skipped: Iterable[Skipped], listed: Catalog, severity: Severity) -> list[Finding]:
    """Find the files that hold no usable image, by kind; `listed` has their labels."""
    labels = dict(zip(listed.ids.tolist(), listed.labels.tolist(), strict=True))
    cases: dict[str, list[Case]] = {}
    for sample in skipped:
        label = listed.classes[labels[sample.id]]
        cases.setdefault(sample.kind, []).append(Case(sample.message, ids=(sample.id,), labels=(label,)))
    return [found for kind, of_kind in cases.items() for found in finding(kind, severity, of_kind)]


def blank_pictures(cache: ImageCache) -> list[Finding]:
    """Find pictures in which next to nothing differs from the rest; those of one color are refused in reading."""
    blank = []
    for row, image in enumerate(cache.images):
        picture = _without_padding(thumbnail(numbers(image))).astype(np.int16)
        deviation = np.abs(picture - np.int16(np.median(picture)))
        differing = np.count_nonzero(deviation > BLANK_LEVELS)
        if differing < BLANK_PIXELS:
            text = f"no pixel of its thumbnail is more than {deviation.max()} of 255 grey levels from the median"
            blank.append(case_of(cache, [row], text, largest_deviation=int(deviation.max())))
    return finding("near-blank", "warning", blank)


def _without_padding(thumbnail_TT: np.ndarray) -> np.ndarray:
    """Take off the black bars that `fit_square` lays around a picture that is not square."""
    for turned, back in ((thumbnail_TT, False), (thumbnail_TT.T, True)):
        filled = np.flatnonzero(turned.any(axis=1))
        if len(filled):
            before, after = int(filled[0]), len(turned) - 1 - int(filled[-1])
            if after and after - before in (0, 1):
                inside = turned[before : len(turned) - after]
                return inside.T if back else inside
    return thumbnail_TT


def given_away(facts: Sequence[FileFacts | None], catalog: Catalog) -> list[Finding]:
    """Find classes that format, color mode and size of the files tell before a pixel is looked at.

    Parameters
    ----------
    facts
        Of each row of `catalog`.
    """
    counts = catalog.class_counts()
    right = signature_classes(facts, catalog.labels, len(catalog.classes)) == catalog.labels
    common = counts.max() / len(catalog)
    if right.mean() <= common + MAX_GAIN_FROM_HEADERS:
        return []
    text = (
        f"The headers alone tell the class of {right.mean():.0%} of the files, by format, color mode and size (always "
        f"saying the most frequent class would be right for {common:.0%})"
    )
    cases = [Case(text, values={"share": round(float(right.mean()), 4), "most_frequent": round(float(common), 4)})]
    told = catalog.class_counts(np.flatnonzero(right))
    for name, hits, count in zip(catalog.classes, told.tolist(), counts.tolist(), strict=True):
        if hits > count / 2:
            values = {"told": hits, "images": count}
            cases.append(Case(f"{name}: {hits:,} of {count:,} files", labels=(name,), values=values))
    return finding("give-away", "warning", cases)


def signature_classes(facts: Sequence[FileFacts | None], labels: np.ndarray, classes: int) -> np.ndarray:
    """Guess the class of each file from its header alone.

    For each file, the most frequent class among the *other* files of the same format, mode, bits and size; where there
    is no other, the most frequent class of all.

    Returns
    -------
    (N,) int64
    """
    numbers = {fact: index for index, fact in enumerate(dict.fromkeys(facts))}
    signature = np.array([numbers[fact] for fact in facts], np.int64)
    counts = np.zeros((len(numbers), classes), np.int64)
    np.add.at(counts, (signature, labels), 1)
    others = counts[signature]
    others[np.arange(len(labels)), labels] -= 1
    common = np.bincount(labels, minlength=classes).argmax() if len(labels) else 0
    return np.where(others.any(axis=1), others.argmax(axis=1), common)


def small_images(facts: Sequence[FileFacts | None], catalog: Catalog, image_size: int) -> list[Finding]:
    """Find classes with files that are scaled up to more than twice their size.

    Parameters
    ----------
    facts
        Of each row of `catalog`.
    """
    longest = np.array([max(fact.width, fact.height) if fact else image_size for fact in facts])
    cases = []
    for label, name in enumerate(catalog.classes):
        mine = longest[catalog.labels == label]
        small = mine[mine < SMALL_SHARE * image_size]
        if len(small):
            sizes = f"{small.min()}" + (f" to {small.max()}" if small.max() > small.min() else "")
            text = f"{name}: {len(small):,} of {counted(len(mine), 'image')}, {sizes} px"
            values = {"images": len(small), "longest_side": int(small.max())}
            cases.append(Case(f"{text}, scaled to {image_size}", labels=(name,), values=values))
    return finding("small images", "note", cases)
