"""``python -m astroclf.stores``: list what the cache folder holds, and remove what is not needed any more."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.errors import AstroclfError, ConfigError

if TYPE_CHECKING:
    from astroclf.data.cache.listing import Entry

_EPILOG = """examples:
  python -m astroclf.stores
  python -m astroclf.stores remove galaxy10-0123456789abcdef
  python -m astroclf.stores remove --unused-for 30d

Nothing is lost for good: a run that needs a store or simulated data makes them again. What a process
uses or builds at the moment stays. Downloaded files and your own data are never touched.
"""
_SECONDS = {"h": 3600, "d": 86400, "w": 7 * 86400}


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, list or remove; returns the exit status."""
    options = _parser().parse_args(arguments)
    cache_dir = options.cache_dir or Path(os.environ.get("ASTROCLF_CACHE") or Path.home() / ".cache" / "astroclf")
    try:
        if options.command == "remove":
            return _remove(cache_dir.expanduser(), options)
        _list(cache_dir.expanduser())
    except AstroclfError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m astroclf.stores",
        description=__doc__.split(": ", 1)[1] if __doc__ else None,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = "the cache folder (default: $ASTROCLF_CACHE, or ~/.cache/astroclf)"
    parser.add_argument("--cache-dir", type=Path, metavar="FOLDER", help=where)
    commands = parser.add_subparsers(dest="command", metavar="{remove}")
    remove = commands.add_parser("remove", help="delete stores, unfinished builds or simulated data")
    remove.add_argument("names", nargs="*", metavar="NAME", help="as the list names it")
    remove.add_argument("--unused-for", type=_age, metavar="AGE", help="all that nobody used for so long: 30d, 12h, 2w")
    remove.add_argument("--partial", action="store_true", help="all unfinished builds")
    remove.add_argument("--all", action="store_true", help="everything that is listed")
    return parser


def _age(text: str) -> float:
    """Seconds in ``30d``."""
    match = re.fullmatch(r"(\d+)([hdw])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 30d (days), 12h (hours) or 2w (weeks)")
    return int(match[1]) * _SECONDS[match[2]]


def _list(cache_dir: Path) -> None:
    from astroclf.data.cache.listing import list_cache

    entries = list_cache(cache_dir)
    if not entries:
        print(f"{cache_dir} holds no stores.")
        return
    header = ("NAME", "IMAGES", "SIZE", "LAST USED", "STATE", "MADE FROM")
    rows = [header, *map(_row, entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    for row in rows:
        cells = [
            cell.rjust(width) if 1 <= i <= 2 else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())
    print(f"{_size(sum(entry.bytes for entry in entries))} in {cache_dir}")


def _row(entry: Entry) -> tuple[str, ...]:
    gone = " (not there now)" if entry.origin is not None and not entry.origin.exists() else ""
    return (
        entry.name,
        _images(entry),
        _size(entry.bytes),
        time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.last_used)),
        entry.state,
        f"{entry.made_from} {entry.origin or ''}".strip() + gone,
    )


def _images(entry: Entry) -> str:
    if entry.images is None or entry.shape is None:
        return ""
    planned, side = entry.shape[:2]
    return f"{entry.images:,}{f' of {planned:,}' if entry.is_partial else ''}, {side} px"


def _remove(cache_dir: Path, options: argparse.Namespace) -> int:
    from astroclf.data.cache.listing import list_cache, remove

    freed, kept = 0, 0
    for entry in _chosen(list_cache(cache_dir), options):
        try:
            remove(entry)
        except AstroclfError as error:
            print(f"kept: {error}", file=sys.stderr)
            kept += 1
            continue
        print(f"removed {entry.name} ({_size(entry.bytes)})")
        freed += entry.bytes
    print(f"{_size(freed)} freed in {cache_dir}")
    return 1 if kept else 0


def _chosen(entries: list[Entry], options: argparse.Namespace) -> list[Entry]:
    if not (options.names or options.unused_for is not None or options.partial or options.all):
        raise ConfigError("Say what to remove: names from the list, --unused-for 30d, --partial, or --all.")
    known = {entry.name for entry in entries}
    for name in options.names:
        if name not in known:
            raise ConfigError(f"The cache holds no `{name}`. It holds {', '.join(sorted(known)) or 'nothing'}.")
    now = time.time()
    return [
        entry
        for entry in entries
        if entry.name in options.names
        or options.all
        or (options.partial and entry.is_partial)
        or (options.unused_for is not None and now - entry.last_used > options.unused_for)
    ]


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)


if __name__ == "__main__":
    sys.exit(main())
