"""``astroclf stores``: list what the cache holds, and remove what is not needed any more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from astroclf.cli.verb import Job, Verb
from astroclf.errors import DataError
from astroclf.settings.verbs.data import StoresConfig
from astroclf.util.lazy import lazy_import
from astroclf.util.text import visible

if TYPE_CHECKING:
    from astroclf.data.cache import listing
else:
    listing = lazy_import("astroclf.data.cache.listing")  # numpy is imported only once the configuration is sound


def stores(config: StoresConfig, job: Job) -> int:
    """List one cache, or remove from it; returns 1 if something that was to be removed is in use and stays."""
    cache_dir = Path(config.dataset.cache_dir)
    entries = listing.list_cache(cache_dir)
    if not config.removes():
        print(visible(listing.table(entries, cache_dir), keep="\n"))
        return 0
    freed, kept = 0, 0
    for entry in listing.chosen(
        entries, config.names, config.unused_seconds(), unfinished=config.unfinished, everything=config.all
    ):
        try:
            listing.remove(entry)
        except DataError as error:
            print(f"kept: {error}", file=sys.stderr)
            kept += 1
            continue
        print(f"removed {entry.name} ({decimal(entry.bytes)})")
        freed += entry.bytes
    print(f"{decimal(freed)} freed in {cache_dir}")
    return 1 if kept else 0


VERB = Verb("stores", StoresConfig, stores, positional=(), gives_status=True, only_prints=True)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
