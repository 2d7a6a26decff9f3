"""What a data set's reader has said: guesses in reading the images, and what of the folder is not read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from astroclf.audit.findings import Case, Finding, Severity, case_of, finding
from astroclf.data.cache.image_cache import ImageCache
from astroclf.data.catalog import LeftOut
from astroclf.data.readers import accounts

# Kinds of notes that need no look: what was read is what the file says. Any other is a warning, known here or not.
CALM_NOTES = frozenset({"Stokes", "remark"})
# Reasons to leave a file out that need no look: nobody took it for an image, or it was asked for.
CALM_REASONS = frozenset(
    {
        accounts.HIDDEN,
        accounts.NO_FORMAT,
        accounts.EXCLUDED,
        accounts.BESIDE_ARRAYS,
        accounts.SPLIT_TABLE,
        accounts.LINKED_TWICE,
        accounts.LOW_VOTE,
        accounts.TIED_VOTE,
        "beside images and labels",  # of arrays
    }
)
NAMES_SHOWN = 3


def noted_images(cache: ImageCache) -> list[Finding]:
    """Find the images in reading which something was guessed, or that strike the eye, by kind."""
    row_of = {name: row for row, name in enumerate(cache.catalog.ids.tolist())}
    cases: dict[str, list[Case]] = defaultdict(list)
    for note in cache.noted:
        if note.id in row_of:
            cases[note.kind].append(case_of(cache, [row_of[note.id]], note.message))
    return [
        Finding(kind, "note" if kind in CALM_NOTES else "warning", tuple(of_kind)) for kind, of_kind in cases.items()
    ]


def unread_files(left_out: Iterable[LeftOut]) -> list[Finding]:
    """Find what lies in the folder and is no sample: a case for each reason, a warning where it needs a look."""
    cases: dict[Severity, list[Case]] = {"warning": [], "note": []}
    for reason, names in by_reason(left_out).items():
        more = len(names) - NAMES_SHOWN
        shown = ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        case = Case(f"{len(names):,} {reason}: {shown}", values={"reason": reason, "files": len(names)})
        cases["note" if reason in CALM_REASONS else "warning"].append(case)
    return finding("not read", "warning", cases["warning"]) + finding("ignored", "note", cases["note"])


def by_reason(left_out: Iterable[LeftOut]) -> dict[str, list[str]]:
    """Return the names of what is left out for each reason, the most frequent reason first."""
    names: dict[str, list[str]] = defaultdict(list)
    for item in left_out:
        names[item.reason].append(item.name)
    return dict(sorted(names.items(), key=lambda item: -len(item[1])))
