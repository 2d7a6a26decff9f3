"""The account of a data set's folder: how many images are read, and what else lies there and why it is no sample."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from astroclf.data.catalog import DatasetReader, HasLeftOut, LeftOut
from astroclf.util.logs import log

# Reasons, worded so that they follow a number: "8 beside the class folders".
BESIDE = "beside the class folders"
BESIDE_ARRAYS = "beside images and labels"
NO_FORMAT = "of no image format"
UNREAD_TABLE = "a table that is not read"
SPLIT_TABLE = "a table of splits, for dataset.split_file"
HIDDEN = "hidden or of the system"
NOT_LISTED = "not in the table"
EXCLUDED = "of an excluded class"
NO_PATTERN = "of no pattern in dataset.fits.files"
UNLABELLED = "without a label"
LOW_VOTE = "with no vote above dataset.min_vote"
TIED_VOTE = "with as many votes for another class"
LINKED_TWICE = "linked a second time"
LOOP = "in a loop of links"
BROKEN_LINK = "linked to nothing"
CLOSED = "in a folder that may not be opened"
NO_FILE = "a pipe, socket or device"
UNUSABLE = "without a usable image"

NAMES_SHOWN = 3
SUFFIXES_SHOWN = 5


def left_out(names: Iterable[str], reason: str) -> list[LeftOut]:
    """Give each name the same reason; bytes that are no text are spelled out, so that the name can be printed."""
    return [LeftOut(name.encode("utf-8", "backslashreplace").decode(), reason) for name in names]


def account(reader: DatasetReader, read: int, unusable: Iterable[str] = ()) -> str:
    """Say in one sentence how many images are read and what is left out, by reason.

    Parameters
    ----------
    read
        The number of images that are used.
    unusable
        Ids of samples whose image cannot be read.
    """
    rest = [*left_out(unusable, UNUSABLE), *(reader.left_out if isinstance(reader, HasLeftOut) else ())]
    images = f"{read:,} image{'' if read == 1 else 's'} read"
    return f"{images}; left out: {by_reason(rest)}." if rest else f"{images}, nothing left out."


def by_reason(rest: Sequence[LeftOut]) -> str:
    """Count what is left out by reason, the most frequent first, such as ``8 hidden, 3 of no image format (.txt)``."""
    counts = Counter(item.reason for item in rest)
    return ", ".join(f"{count:,} {reason}{_examples(rest, reason)}" for reason, count in counts.most_common())


def _examples(rest: Sequence[LeftOut], reason: str) -> str:
    """Return what says more than a number, in brackets: the suffixes of files without images, the names of tables."""
    if reason == NO_FORMAT:
        suffixes = Counter(suffix_of(item.name) for item in rest if item.reason == reason)
        shown = [suffix for suffix, _ in suffixes.most_common(SUFFIXES_SHOWN)]
        return f" ({', '.join(shown)}{', …' if len(suffixes) > SUFFIXES_SHOWN else ''})"
    if reason == UNREAD_TABLE:
        return f" ({first_names([item.name for item in rest if item.reason == reason])})"
    return ""


def suffix_of(name: str) -> str:
    """Return the suffix by which files are counted, in lower case."""
    return PurePosixPath(name).suffix.lower() or "no suffix"


def suffixes_in(names: Iterable[str]) -> str:
    """Say what lies in a folder without images, such as ``12 .npy, 1 .txt``; or that it is empty."""
    counts = Counter(map(suffix_of, names)).most_common(SUFFIXES_SHOWN)
    return ", ".join(f"{count:,} {suffix}" for suffix, count in counts) or "nothing"


def first_names(names: Sequence[str]) -> str:
    """Name the first few, and count the others."""
    more = len(names) - NAMES_SHOWN
    return ", ".join(names[:NAMES_SHOWN]) + (f" and {more:,} more" if more > 0 else "")


def warn_of(root: object, names: Sequence[str], what: str) -> None:
    """Log a warning of images that somebody may think are used; `what` goes on after their number."""
    if names:
        shown = first_names([item.name for item in left_out(names, "")])
        images = f"{len(names):,} image{'' if len(names) == 1 else 's'}"
        log.warning("%s: %s %s, not read: %s.", root, images, what, shown)
