"""A list of all in the cache folder that a run can make again (image caches, simulated data), and its removal."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.filesize import decimal

from astroclf.data.cache import simulated
from astroclf.data.cache.builder import LOCK_SUFFIX, MARKER_FILE, PARTIAL_SUFFIX, RECORD_FILE, VERSION, read_record
from astroclf.data.cache.image_cache import STORES_FOLDER, in_use, last_use
from astroclf.errors import DataError

ENTRY_NAME = re.compile(r"\w+-[0-9a-f]{10,16}(\.partial)?")  # no other folder is listed, or removed


class State(StrEnum):
    """The state of an entry; what is in use or being built cannot be removed."""

    WHOLE = "whole"
    UNFINISHED = "unfinished"  # the next run goes on with it
    UNUSABLE = "unusable"  # damaged, or made by another version: the next run replaces it
    IN_USE = "in use"
    BEING_BUILT = "being built"


@dataclass(frozen=True)
class Entry:
    """One folder of the cache.

    Attributes
    ----------
    name
        The folder's name, with ``simulated/`` before that of simulated data.
    path
        The folder.
    made_from
        The class of the data set's reader; of simulated data, the settings.
    origin
        Where that data set was, if known.
    images
        How many are decoded; None where that is not known.
    shape
        (N, H, W, C) of all that there will be; None likewise.
    compression
        How they are kept: ``none``, or the name of it.
    bytes
        On the disk: a file that is half written takes half its room.
    last_used
        When, in seconds since the epoch.
    """

    name: str
    path: Path
    made_from: str
    origin: Path | None
    images: int | None
    shape: tuple[int, ...] | None
    bytes: int
    last_used: float
    state: State
    compression: str = "none"

    @property
    def is_partial(self) -> bool:
        """An unfinished build, not a whole image cache."""
        return self.path.suffix == PARTIAL_SUFFIX

    @property
    def lock(self) -> Path:
        """The file that whoever makes the entry holds a lock on; never deleted, for somebody may wait for it."""
        if self.path.parent.name == simulated.FOLDER:
            return self.path / simulated.LOCK_FILE
        return self.path.with_name(self.path.name.removesuffix(PARTIAL_SUFFIX) + LOCK_SUFFIX)


def list_cache(cache_dir: Path) -> list[Entry]:
    """List every entry below `cache_dir`, the longest unused first.

    Raises
    ------
    DataError
        The folder cannot be read.
    """
    try:
        entries = _each(_unfinished_or_whole, cache_dir / STORES_FOLDER)
        building = [entry.origin for entry in entries if entry.state == State.BEING_BUILT]
        for entry in _each(_simulated, cache_dir / simulated.FOLDER):
            is_read = any(origin is not None and origin.is_relative_to(entry.path) for origin in building)
            entries.append(replace(entry, state=State.IN_USE) if is_read else entry)
    except OSError as error:
        raise DataError(f"The cache {cache_dir} cannot be read: {error.strerror or error}.") from error
    return sorted(entries, key=lambda entry: entry.last_used)


def remove(entry: Entry) -> None:
    """Delete an entry's folder, unless a process is using or making it.

    Raises
    ------
    DataError
        It is in use, being built, or may not be deleted.
    """
    try:
        with FileLock(entry.lock, timeout=0):
            if entry.state == State.IN_USE or in_use(entry.path / MARKER_FILE):
                raise DataError(f"{entry.name} is in use by a process: remove it when that has ended.")
            (entry.path / MARKER_FILE).unlink(missing_ok=True)  # first: nobody takes it for an image cache any more
            shutil.rmtree(entry.path)
    except Timeout:
        raise DataError(f"{entry.name} is being built by a process: remove it when that has ended.") from None
    except OSError as error:
        raise DataError(f"{entry.path} cannot be removed: {error.strerror or error}.") from error


def chosen(
    entries: Sequence[Entry],
    names: Sequence[str] = (),
    unused_seconds: float | None = None,
    *,
    unfinished: bool = False,
    everything: bool = False,
) -> list[Entry]:
    """Return the entries that have one of these names, were not used for so long, or are of a kind to be removed.

    Raises
    ------
    DataError
        No entry has one of the names; the message says which there are.
    """
    known = {entry.name for entry in entries}
    for name in names:
        if name not in known:
            raise DataError(f"The cache holds no `{name}`. It holds {', '.join(sorted(known)) or 'nothing'}.")
    now = time.time()
    return [
        entry
        for entry in entries
        if entry.name in names
        or everything
        or (unfinished and entry.is_partial)
        or (unused_seconds is not None and now - entry.last_used > unused_seconds)
    ]


def table(entries: Sequence[Entry], cache_dir: Path) -> str:
    """Return the entries in columns of text, with their sum."""
    if not entries:
        return f"{cache_dir} holds no stores."
    rows = [("NAME", "IMAGES", "SIZE", "LAST USED", "STATE", "MADE FROM"), *map(_row, entries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.rjust(width) if 1 <= i <= 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([*lines, f"{decimal(sum(entry.bytes for entry in entries))} in {cache_dir}"])


def _row(entry: Entry) -> tuple[str, ...]:
    images = ""
    if entry.images is not None and entry.shape is not None:
        planned, side = entry.shape[:2]
        images = f"{entry.images:,}{f' of {planned:,}' if entry.is_partial else ''}, {side} px"
        images += "" if entry.compression == "none" else f", {entry.compression}"
    gone = " (not there now)" if entry.origin is not None and not entry.origin.exists() else ""
    return (
        entry.name,
        images,
        decimal(entry.bytes),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used)),
        entry.state,
        f"{entry.made_from} {entry.origin or ''}".strip() + gone,
    )


def _each(describe: Callable[[Path], Entry], place: Path) -> list[Entry]:
    """Describe the folders in `place` that are named like entries."""
    entries = []
    for path in sorted(place.iterdir()) if place.is_dir() else []:
        if path.is_dir() and ENTRY_NAME.fullmatch(path.name):
            with suppress(FileNotFoundError):  # finished or removed by another process while we look
                entries.append(describe(path))
    return entries


def _unfinished_or_whole(folder: Path) -> Entry:
    try:
        return _unfinished(folder) if folder.suffix == PARTIAL_SUFFIX else _whole(folder)
    except (LookupError, TypeError, AttributeError):  # a marker or record that a failing disk changed
        return replace(_entry(folder, folder / MARKER_FILE, None), state=State.UNUSABLE)


def _whole(folder: Path) -> Entry:
    marker = _json(folder / MARKER_FILE)
    entry = _entry(folder, folder / MARKER_FILE, marker.get("about"))
    if marker.get("version") != VERSION:
        return replace(entry, state=State.UNUSABLE)
    if in_use(folder / MARKER_FILE):
        entry = replace(entry, state=State.IN_USE)
    kept = marker.get("compression", "none")
    return replace(entry, images=marker["shape"][0], shape=tuple(marker["shape"]), compression=kept)


def _unfinished(folder: Path) -> Entry:
    header, *blocks = read_record(folder / RECORD_FILE) or [{}]
    entry = _entry(folder, folder / RECORD_FILE, header.get("about"))
    images = sum(block["stop"] - block["start"] for block in blocks)
    state = State.BEING_BUILT if _is_held(entry.lock) else State.UNFINISHED
    shape, kept = tuple(header.get("shape") or ()) or None, header.get("compression", "none")
    return replace(entry, images=images, shape=shape, state=state, compression=kept)


def _simulated(folder: Path) -> Entry:
    settings = _json(folder / simulated.SETTINGS_FILE)
    made_from = ", ".join(f"{name} {value}" for name, value in settings.items())
    entry = _entry(folder, folder / simulated.SETTINGS_FILE, None)
    entry = replace(entry, name=f"{simulated.FOLDER}/{folder.name}", made_from=made_from)
    return replace(entry, state=State.BEING_BUILT) if _is_held(entry.lock) else entry


def _entry(folder: Path, mark: Path, about: dict[str, str | None] | None) -> Entry:
    about = about or {}
    path = about.get("path")
    return Entry(
        name=folder.name,
        path=folder,
        made_from=about.get("reader") or "",
        origin=Path(path) if path else None,
        images=None,
        shape=None,
        bytes=_bytes_on_disk(folder),
        last_used=last_use(mark if mark.is_file() else folder),
        state=State.WHOLE,
    )


def _is_held(lock: Path) -> bool:
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a cache of somebody else's
        return False


def _bytes_on_disk(folder: Path) -> int:
    files = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(status.st_blocks * 512 if hasattr(status, "st_blocks") else status.st_size for status in files)


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
