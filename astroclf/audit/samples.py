"""What is wrong with the samples of a data set: functions from its catalog, pixels and file headers to findings.

`audit_copies` has what samples have to do with each other, `audit_labels` what a model says of their labels.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from astroclf.audit.findings import Case, Finding, Severity, case_of, counted, finding
from astroclf.data.cache.image_cache import ImageCache, Skipped
from astroclf.data.catalog import Catalog
from astroclf.data.decode.headers import FileFacts, signature_classes
from astroclf.data.readers import class_key, nearest

# A picture is nearly blank if fewer than BLANK_PIXELS of its thumbnail's 4,096 pixels differ by more than BLANK_LEVELS
# (of 255) from their median. Of 2,565 real images (Galaxy10 DECaLS, ESA/Hubble, telescope cut-outs of 64 px, charts)
# the faintest, a comet lost in the sky, has three pixels 22 levels away.
BLANK_LEVELS = 8
BLANK_PIXELS = 3
SEVERE_IMBALANCE = 100.0  # largest class over smallest; the long-tailed benchmarks of Cui et al. 2019 go from 10 to 200
FEW_TESTS = 10  # images of a class in the test split: one of them is a tenth of its accuracy
GIVEN_AWAY = 0.2  # by which the header alone may beat the most frequent class, as a share of all files
SMALL = 0.5  # of the image size asked for


def class_findings(wanted: Sequence[str], excluded: Sequence[str], found: Catalog) -> list[Finding]:
    """Classes asked for that have no files, and classes with files that nobody asked for."""
    dropped = {class_key(name) for name in excluded}
    names = {class_key(name): name for name in wanted if class_key(name) not in dropped}
    counts = zip(found.classes, found.class_counts().tolist(), strict=True)
    present = {class_key(name): (name, count) for name, count in counts}
    missing = [Case(f"{name}: no images", labels=(name,)) for key, name in names.items() if key not in present]
    unknown = [
        Case(f"{name}: {counted(count, 'image')}{nearest(name, names.values())}".rstrip("."), labels=(name,))
        for key, (name, count) in present.items()
        if key not in names and key not in dropped
    ]
    return finding("classes missing", "error", missing) + finding("classes unknown", "error", unknown)


def unreadable_files(skipped: Iterable[Skipped], listed: Catalog, severity: Severity) -> list[Finding]:
    """One finding for each kind of file that holds no usable image; `listed` has the labels."""
    labels = dict(zip(listed.ids.tolist(), listed.labels.tolist(), strict=True))
    cases: dict[str, list[Case]] = {}
    for sample in skipped:
        label = listed.classes[labels[sample.id]]
        cases.setdefault(sample.kind, []).append(Case(sample.message, ids=(sample.id,), labels=(label,)))
    return [found for kind, of_kind in cases.items() for found in finding(kind, severity, of_kind)]


def blank_pictures(cache: ImageCache) -> list[Finding]:
    """Pictures of one color, and pictures in which next to nothing differs from the rest."""
    constant, blank = [], []
    for row, thumbnail in enumerate(cache.thumbnails):
        picture = _without_padding(thumbnail).astype(np.int16)
        deviation = np.abs(picture - np.int16(np.median(picture)))
        differing = np.count_nonzero(deviation > BLANK_LEVELS)
        if differing >= BLANK_PIXELS:
            continue
        if not deviation.any() and _is_constant(cache.images[row]):
            constant.append(case_of(cache, [row], "every pixel has the same value"))
        else:
            text = f"no pixel of its thumbnail is more than {deviation.max()} of 255 grey levels from the median"
            blank.append(case_of(cache, [row], text, largest_deviation=int(deviation.max())))
    return finding("constant", "warning", constant) + finding("near-blank", "warning", blank)


def _without_padding(thumbnail_TT: np.ndarray) -> np.ndarray:
    """A thumbnail without the black bars that `fit_square` lays around a picture that is not square."""
    for turned, back in ((thumbnail_TT, False), (thumbnail_TT.T, True)):
        filled = np.flatnonzero(turned.any(axis=1))
        if len(filled):
            before, after = int(filled[0]), len(turned) - 1 - int(filled[-1])
            if after and after - before in (0, 1):
                inside = turned[before : len(turned) - after]
                return inside.T if back else inside
    return thumbnail_TT


def _is_constant(image_HWC: np.ndarray) -> bool:
    filled = np.asarray(image_HWC.any(axis=2))
    if not filled.any():
        return True
    rows, columns = np.flatnonzero(filled.any(axis=1)), np.flatnonzero(filled.any(axis=0))
    inside = image_HWC[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return bool((inside == inside[0, 0]).all())


def balance(catalog: Catalog, test_rows: np.ndarray | None) -> list[Finding]:
    """A severe imbalance, and classes of which the test split has few images."""
    counts = catalog.class_counts()
    present = np.flatnonzero(counts)
    large, small = (int(present[place]) for place in (counts[present].argmax(), counts[present].argmin()))
    found: list[Finding] = []
    if counts[large] > SEVERE_IMBALANCE * counts[small]:
        names = (catalog.classes[large], catalog.classes[small])
        text = f"{names[0]} has {counted(int(counts[large]), 'image')}, {names[1]} {counts[small]:,}"
        found += finding("imbalance", "warning", [Case(text, labels=names)])
    if test_rows is not None:
        tests = zip(catalog.classes, catalog.class_counts(test_rows).tolist(), strict=True)
        few = [Case(f"{name}: {n}", labels=(name,), values={"images": n}) for name, n in tests if n < FEW_TESTS]
        found += finding("few tests", "note", few)
    return found


def given_away(facts: Sequence[FileFacts | None], catalog: Catalog) -> list[Finding]:
    """Classes that format, color mode and size of the files tell before a pixel is looked at.

    Parameters
    ----------
    facts
        Of each row of `catalog`.
    """
    counts = catalog.class_counts()
    right = signature_classes(facts, catalog.labels, len(catalog.classes)) == catalog.labels
    common = counts.max() / len(catalog)
    if right.mean() <= common + GIVEN_AWAY:
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


def small_images(facts: Sequence[FileFacts | None], catalog: Catalog, image_size: int) -> list[Finding]:
    """Classes with files that are scaled up to more than twice their size; `facts` are of each row of `catalog`."""
    longest = np.array([max(fact.width, fact.height) if fact else image_size for fact in facts])
    cases = []
    for label, name in enumerate(catalog.classes):
        mine = longest[catalog.labels == label]
        small = mine[mine < SMALL * image_size]
        if len(small):
            sizes = f"{small.min()}" + (f" to {small.max()}" if small.max() > small.min() else "")
            text = f"{name}: {len(small):,} of {counted(len(mine), 'image')}, {sizes} px"
            values = {"images": len(small), "longest_side": int(small.max())}
            cases.append(Case(f"{text}, scaled to {image_size}", labels=(name,), values=values))
    return finding("small images", "note", cases)
