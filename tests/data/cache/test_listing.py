"""The list of what the cache holds, on real ones, and what removing them spares."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from astroclf.data.cache import image_cache
from astroclf.data.cache.image_cache import ImageCache, open_image_cache
from astroclf.data.cache.listing import Entry, list_cache, remove
from astroclf.data.readers.galaxy10 import Galaxy10
from astroclf.errors import DataError
from astroclf.simulation.readers import Galaxy10Sim

DAY = 86_400


@pytest.fixture
def data(tmp_path) -> Path:
    folder = tmp_path / "npy"
    folder.mkdir()
    np.save(folder / "images.npy", np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8))
    np.save(folder / "labels.npy", np.arange(20) % 10)
    return folder


@pytest.fixture
def cache_dir(tmp_path) -> Path:
    return tmp_path / "cache"


def build(data: Path, cache_dir: Path, size: int = 16) -> ImageCache:
    return open_image_cache(Galaxy10(data, size), cache_dir, progress=False)


def only(cache_dir: Path) -> Entry:
    gc.collect()
    (entry,) = list_cache(cache_dir)
    return entry


def test_a_store_is_listed_with_what_it_is(data, cache_dir):
    name = build(data, cache_dir).path.name
    entry = only(cache_dir)
    assert (entry.name, entry.state, entry.images, entry.shape) == (name, "whole", 20, (20, 16, 16, 3))
    assert (entry.made_from, entry.origin) == ("Galaxy10", data)
    assert entry.bytes >= 20 * (16 * 16 * 3 + 64 * 64)
    assert time.time() - entry.last_used < 60


def test_opening_a_store_counts_as_use_and_an_untouched_one_ages(data, cache_dir):
    for size in (16, 32):
        marker = build(data, cache_dir, size).path / "store.json"
        os.utime(marker, (time.time() - 40 * DAY,) * 2)
    build(data, cache_dir, 16)
    gc.collect()
    oldest, newest = list_cache(cache_dir)
    assert (oldest.shape[1], newest.shape[1]) == (32, 16)
    assert time.time() - oldest.last_used > 39 * DAY
    assert time.time() - newest.last_used < 60


def test_files_that_were_added_to_a_store_count_and_go_with_it(data, cache_dir):
    folder = build(data, cache_dir).path
    before = only(cache_dir).bytes
    (folder / "near-1.npz").write_bytes(bytes(100_000))
    assert only(cache_dir).bytes >= before + 100_000
    remove(only(cache_dir))
    assert not folder.exists()
    assert list_cache(cache_dir) == []


def test_a_removed_store_is_built_again(data, cache_dir):
    build(data, cache_dir)
    remove(only(cache_dir))
    assert build(data, cache_dir).decoded == 20


def test_a_store_that_is_mapped_is_in_use_until_its_images_are_gone(data, cache_dir):
    cache = build(data, cache_dir)
    view = cache.images.view(np.ndarray)[3]
    del cache
    entry = only(cache_dir)
    assert entry.state == "in use"
    with pytest.raises(DataError, match="in use"):
        remove(entry)
    assert len(build(data, cache_dir).catalog) == 20
    del view
    remove(only(cache_dir))


def hold(data: Path, cache_dir: Path, opened: object, end: object) -> None:
    cache = build(data, cache_dir)
    opened.set()  # type: ignore[attr-defined]
    end.wait()  # type: ignore[attr-defined]
    del cache


def test_a_store_that_another_process_maps_is_in_use_until_that_is_killed(data, cache_dir):
    context = multiprocessing.get_context("spawn")
    opened, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(data, cache_dir, opened, end))
    process.start()
    assert opened.wait(60)
    with pytest.raises(DataError, match="in use by a process"):
        remove(only(cache_dir))
    process.kill()
    process.join()
    remove(only(cache_dir))


def unfinished(data: Path, cache_dir: Path) -> Path:
    """A build of which five rows are done."""
    cache = build(data, cache_dir)
    marker = json.loads((cache.path / "store.json").read_text())
    partial = cache.path.with_name(cache.path.name + ".partial")
    cache.path.rename(partial)
    (partial / "store.json").unlink()
    header = {key: marker[key] for key in ("version", "fingerprint", "shape", "about")}
    (partial / "blocks.jsonl").write_text(f'{json.dumps(header)}\n{{"start": 0, "stop": 5}}\n{{"start": 5, "st')
    return partial


def test_an_unfinished_build_says_how_far_it_came(data, cache_dir):
    partial = unfinished(data, cache_dir)
    entry = only(cache_dir)
    assert (entry.name, entry.state, entry.images, entry.shape) == (partial.name, "unfinished", 5, (20, 16, 16, 3))
    assert entry.is_partial
    assert entry.origin == data
    remove(entry)
    assert not partial.exists()


@pytest.mark.parametrize("record", ["", "{", '{"version": 2}\n{}', '{"about": 3}\n', '{}\n{"start": [], "stop": 1}'])
def test_an_unfinished_build_whose_record_is_damaged_is_listed_and_removed(data, cache_dir, record):
    (unfinished(data, cache_dir) / "blocks.jsonl").write_text(record)
    remove(only(cache_dir))
    assert list_cache(cache_dir) == []


def test_what_is_being_built_stays(data, cache_dir):
    partial = unfinished(data, cache_dir)
    with FileLock(only(cache_dir).lock):
        entry = only(cache_dir)
        assert entry.state == "being built"
        with pytest.raises(DataError, match="is being built"):
            remove(entry)
    assert partial.exists()


@pytest.mark.parametrize("marker", ["", "{", "[]", '{"version": 1}', '{"version": 2}', '{"version": 2, "shape": 3}'])
def test_a_store_of_another_version_or_a_damaged_one_is_listed_and_removed(data, cache_dir, marker):
    (build(data, cache_dir).path / "store.json").write_text(marker)
    entry = only(cache_dir)
    assert (entry.state, entry.images) == ("unusable", None)
    remove(entry)


def test_a_folder_without_a_marker_is_unusable(data, cache_dir):
    (build(data, cache_dir).path / "store.json").unlink()
    assert only(cache_dir).state == "unusable"


def test_simulated_data_and_the_store_made_of_it(cache_dir):
    open_image_cache(Galaxy10Sim(20, 16, 3, cache_dir), cache_dir, progress=False)
    gc.collect()
    simulated, cache = sorted(list_cache(cache_dir), key=lambda entry: entry.name, reverse=True)
    assert simulated.name.startswith("simulated/galaxy10-")
    assert "samples 20, image_size 16, seed 3" in simulated.made_from
    assert cache.origin.is_relative_to(simulated.path)
    with FileLock(cache.lock):  # as long as it is built, its data stay
        cache.path.rename(cache.path.with_name(cache.path.name + ".partial"))
        header = {"about": {"reader": "Galaxy10Sim", "path": str(cache.origin)}}
        (cache.path.with_name(cache.path.name + ".partial") / "blocks.jsonl").write_text(json.dumps(header))
        reading = next(entry for entry in list_cache(cache_dir) if entry.name == simulated.name)
        with pytest.raises(DataError, match="in use"):
            remove(reading)
    remove(simulated)
    assert not simulated.path.exists()


def test_other_folders_are_neither_listed_nor_counted(cache_dir):
    for name in ("stores/mine", "stores/.hidden", "simulated/notes", "stores/a-0123456789abcdef/x"):
        (cache_dir / name).mkdir(parents=True)
    assert [entry.name for entry in list_cache(cache_dir)] == ["a-0123456789abcdef"]


def test_no_cache_is_an_empty_list(tmp_path):
    assert list_cache(tmp_path / "absent") == []


def test_a_reader_that_comes_while_a_store_is_removed_builds_it_again(data, cache_dir, monkeypatch):
    build(data, cache_dir)
    gc.collect()
    entry, results = only(cache_dir), []
    thread = threading.Thread(target=lambda: results.append(build(data, cache_dir)))
    unlink = Path.unlink

    def unlink_and_let_a_reader_in(path: Path, **options: bool) -> None:
        unlink(path, **options)
        if path.name == "store.json" and not thread.ident:
            thread.start()
            time.sleep(0.2)

    monkeypatch.setattr(Path, "unlink", unlink_and_let_a_reader_in)
    remove(entry)
    thread.join(60)
    assert results[0].decoded == 20
    assert len(results[0].images) == 20


def test_a_file_system_without_locks_or_rights_is_used_without_a_mark(data, cache_dir, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    build(data, cache_dir)
    monkeypatch.setattr(image_cache.os, "utime", refuse)
    monkeypatch.setattr(image_cache.fcntl, "flock", refuse)
    cache = build(data, cache_dir)
    assert len(cache.images) == 20
    assert image_cache.in_use(cache.path / "store.json") is False
