"""``python -m astroclf.prepare``: decode a data set into the cache, before any training needs it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from omegaconf import DictConfig

from astroclf.cli.application import one_paragraph, run_command
from astroclf.config.build import build
from astroclf.config.compose import checked_as
from astroclf.settings.config import PrepareConfig
from astroclf.settings.yaml_files import config_dir

if TYPE_CHECKING:
    from astroclf.data.cache.image_cache import ImageCache


@hydra.main(config_path=str(config_dir()), config_name="prepare", execution_whitelist=["astroclf.*"])
@one_paragraph
def job(composed: DictConfig) -> None:
    """Build the cache, unless it is there, and say what it holds and where it is."""
    config = checked_as(PrepareConfig, composed)
    from astroclf.data.cache.image_cache import (
        open_image_cache,  # OpenCV and h5py are imported only once the config is known to be sound
    )

    dataset = config.dataset
    reader = build(dataset)
    began = time.monotonic()
    cache = open_image_cache(reader, Path(dataset.cache_dir), on_error=dataset.on_error, num_workers=config.num_workers)
    print(_summary(dataset.name, cache, time.monotonic() - began))


def _summary(name: str, cache: ImageCache, seconds: float) -> str:
    from rich.filesize import decimal

    _, height, width, channels = cache.images.shape
    counts = zip(cache.catalog.classes, cache.catalog.class_counts().tolist(), strict=True)
    on_disk = sum(path.stat().st_size for path in cache.path.iterdir())
    made = f"decoded {cache.decoded:,} images in {seconds:.1f} s, {cache.decoded / seconds:,.0f} images/s"
    return "\n".join(
        [
            f"{name}: {len(cache.catalog):,} images of {height} x {width} x {channels}"
            + (f", {len(cache.skipped):,} left out" if cache.skipped else ""),
            f"  classes      {', '.join(f'{label} {count:,}' for label, count in counts)}",
            f"  size         {decimal(on_disk)}",
            f"  place        {cache.path}",
            f"  fingerprint  {cache.fingerprint}",
            f"  {made if cache.decoded else 'was there already'}",
        ]
    )


def main() -> None:
    run_command(job, "prepare")


if __name__ == "__main__":
    main()
