from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from astroclf.errors import AstroclfError
from astroclf.simulation.readers import Astro8Sim, Galaxy10Sim


def test_simulated_galaxies_open_like_the_real_ones(tmp_path: Path) -> None:
    reader = Galaxy10Sim(samples=20, image_size=32, cache_dir=tmp_path)
    assert reader.catalog.class_counts().tolist() == [2] * 10
    assert reader.catalog.ra_deg is not None
    images = reader.read(range(20)).images_BHWC
    assert images.shape == (20, 32, 32, 3)
    assert images.max() > 100


def test_classes_can_be_chosen_from_the_simulated_ones(tmp_path: Path) -> None:
    chosen = Galaxy10Sim(samples=20, image_size=32, cache_dir=tmp_path, classes=["Merging", "Barred Spiral"])
    assert chosen.catalog.classes == ("Merging", "Barred Spiral")
    assert len(chosen.catalog) == 4
    sky = Astro8Sim(samples_per_class=1, image_size=32, cache_dir=tmp_path, exclude_classes=["constellation"])
    assert len(sky.catalog) == 7
    assert "constellation" not in sky.catalog.classes


def test_simulated_sky_objects_open_like_real_folders(tmp_path: Path) -> None:
    reader = Astro8Sim(samples_per_class=2, image_size=32, cache_dir=tmp_path)
    assert len(reader.catalog) == 16
    for rows in reader.blocks():
        assert reader.read(rows).faults == {}


def test_a_data_set_is_simulated_once(tmp_path: Path) -> None:
    one = Galaxy10Sim(samples=10, image_size=32, cache_dir=tmp_path)
    written = one.path.stat().st_mtime_ns
    again = Galaxy10Sim(samples=10, image_size=32, cache_dir=tmp_path)
    assert again.path == one.path
    assert again.path.stat().st_mtime_ns == written
    assert again.fingerprint() == one.fingerprint()
    other = Galaxy10Sim(samples=10, image_size=32, cache_dir=tmp_path, seed=1)
    assert other.path != one.path
    assert not np.array_equal(other.read(range(10)).images_BHWC, one.read(range(10)).images_BHWC)


def test_two_that_start_together_share_one_simulation(tmp_path: Path) -> None:
    readers: list[Galaxy10Sim] = []

    def start() -> None:
        readers.append(Galaxy10Sim(samples=20, image_size=32, cache_dir=tmp_path))

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(reader.path, reader.fingerprint()) for reader in readers}) == 1
    assert len(readers) == 3


def test_a_cache_folder_that_cannot_be_made_is_one_paragraph(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(AstroclfError, match="dataset.cache_dir"):
        Galaxy10Sim(samples=10, image_size=32, cache_dir=tmp_path / "cache")
