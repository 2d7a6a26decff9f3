"""``astroclf prepare``: decode a data set into the cache, before any training needs it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.filesize import decimal

from astroclf.cli.verb import Job, Verb
from astroclf.config.build import build
from astroclf.settings.verbs.data import PrepareConfig
from astroclf.util.lazy import lazy_import
from astroclf.util.text import visible

if TYPE_CHECKING:
    from astroclf.data.cache import image_cache
    from astroclf.data.readers import accounts
else:
    accounts = lazy_import("astroclf.data.readers.accounts")
    image_cache = lazy_import("astroclf.data.cache.image_cache")  # OpenCV and h5py, once the configuration is sound


def prepare(config: PrepareConfig, job: Job) -> None:
    """Decode one data set, unless it is decoded already, and say what is kept and where."""
    dataset, began = config.dataset, time.monotonic()
    reader = build(dataset, reading=dataset.reading)
    cache = image_cache.open_image_cache(
        reader, Path(dataset.cache_dir), on_error=dataset.on_error, compression=dataset.cache_compression,
        num_workers=config.trainer.num_workers,
    )  # fmt: skip
    read = accounts.account(reader, len(cache.catalog), (skipped.id for skipped in cache.skipped))
    print(visible(f"{_summary(dataset.name, cache, time.monotonic() - began)}\n{read}", keep="\n"))


def _summary(name: str, cache: image_cache.ImageCache, seconds: float) -> str:
    counts = zip(cache.catalog.classes, cache.catalog.class_counts().tolist(), strict=True)
    on_disk = sum(path.stat().st_size for path in cache.path.iterdir())
    made = f"decoded {cache.decoded:,} images in {seconds:.1f} s, {cache.decoded / seconds:,.0f} images/s"
    plain = (
        "" if cache.compression == "none" else f", {cache.compression} (uncompressed: {decimal(cache.images.nbytes)})"
    )
    return (
        f"{name}: {len(cache.catalog):,} images of {' x '.join(map(str, cache.images.shape[1:]))}\n"
        f"  classes      {', '.join(f'{label} {count:,}' for label, count in counts)}\n"
        f"  size         {decimal(on_disk)}{plain}\n"
        f"  place        {cache.path}\n"
        f"  fingerprint  {cache.fingerprint}\n"
        f"  {made if cache.decoded else 'was there already'}"
    )


VERB = Verb("prepare", PrepareConfig, prepare)
main = VERB.main

if __name__ == "__main__":
    sys.exit(main())
