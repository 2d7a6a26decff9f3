"""The list of what the cache holds, on real stores, and what removing them spares."""

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

from astroclf.data.cache import use_mark
from astroclf.data.cache.listing import Entry, list_cache, remove
from astroclf.data.cache.store import ImageCache, open_store
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
def cache(tmp_path) -> Path:
    return tmp_path / "cache"


def build(data: Path, cache: Path, size: int = 16) -> ImageCache:
    return open_store(Galaxy10(data, size), cache, progress=False)


def only(cache: Path) -> Entry:
    gc.collect()
    (entry,) = list_cache(cache)
    return entry


def test_a_store_is_listed_with_what_it_is(data, cache):
    name = build(data, cache).path.name
    entry = only(cache)
    assert (entry.name, entry.state, entry.images, entry.shape) == (name, "whole", 20, (20, 16, 16, 3))
    assert (entry.source, entry.origin) == ("Galaxy10", data)
    assert entry.bytes >= 20 * (16 * 16 * 3 + 64 * 64)
    assert time.time() - entry.last_used < 60


def test_opening_a_store_counts_as_use_and_an_untouched_one_ages(data, cache):
    for size in (16, 32):
        marker = build(data, cache, size).path / "store.json"
        os.utime(marker, (time.time() - 40 * DAY,) * 2)
    build(data, cache, 16)
    gc.collect()
    oldest, newest = list_cache(cache)
    assert (oldest.shape[1], newest.shape[1]) == (32, 16)
    assert time.time() - oldest.last_used > 39 * DAY
    assert time.time() - newest.last_used < 60


def test_files_that_were_added_to_a_store_count_and_go_with_it(data, cache):
    folder = build(data, cache).path
    before = only(cache).bytes
    (folder / "near-1.npz").write_bytes(bytes(100_000))
    assert only(cache).bytes >= before + 100_000
    remove(only(cache))
    assert not folder.exists()
    assert list_cache(cache) == []


def test_a_removed_store_is_built_again(data, cache):
    build(data, cache)
    remove(only(cache))
    assert build(data, cache).decoded == 20


def test_a_store_that_is_mapped_is_in_use_until_its_images_are_gone(data, cache):
    store = build(data, cache)
    view = store.images.view(np.ndarray)[3]
    del store
    entry = only(cache)
    assert entry.state == "in use"
    with pytest.raises(DataError, match="in use"):
        remove(entry)
    assert len(build(data, cache).table) == 20
    del view
    remove(only(cache))


def hold(data: Path, cache: Path, opened: object, end: object) -> None:
    store = build(data, cache)
    opened.set()  # type: ignore[attr-defined]
    end.wait()  # type: ignore[attr-defined]
    del store


def test_a_store_that_another_process_maps_is_in_use_until_that_is_killed(data, cache):
    context = multiprocessing.get_context("spawn")
    opened, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(data, cache, opened, end))
    process.start()
    assert opened.wait(60)
    with pytest.raises(DataError, match="in use by a process"):
        remove(only(cache))
    process.kill()
    process.join()
    remove(only(cache))


def unfinished(data: Path, cache: Path) -> Path:
    """A build of which five rows are done."""
    store = build(data, cache)
    marker = json.loads((store.path / "store.json").read_text())
    partial = store.path.with_name(store.path.name + ".partial")
    store.path.rename(partial)
    (partial / "store.json").unlink()
    header = {key: marker[key] for key in ("version", "fingerprint", "shape", "about")}
    (partial / "blocks.jsonl").write_text(f'{json.dumps(header)}\n{{"start": 0, "stop": 5}}\n{{"start": 5, "st')
    return partial


def test_an_unfinished_build_says_how_far_it_came(data, cache):
    partial = unfinished(data, cache)
    entry = only(cache)
    assert (entry.name, entry.state, entry.images, entry.shape) == (partial.name, "unfinished", 5, (20, 16, 16, 3))
    assert entry.is_partial
    assert entry.origin == data
    remove(entry)
    assert not partial.exists()


@pytest.mark.parametrize("record", ["", "{", '{"version": 2}\n{}', '{"about": 3}\n', '{}\n{"start": [], "stop": 1}'])
def test_an_unfinished_build_whose_record_is_damaged_is_listed_and_removed(data, cache, record):
    (unfinished(data, cache) / "blocks.jsonl").write_text(record)
    remove(only(cache))
    assert list_cache(cache) == []


def test_what_is_being_built_stays(data, cache):
    partial = unfinished(data, cache)
    with FileLock(only(cache).lock):
        entry = only(cache)
        assert entry.state == "being built"
        with pytest.raises(DataError, match="is being built"):
            remove(entry)
    assert partial.exists()


@pytest.mark.parametrize("marker", ["", "{", "[]", '{"version": 1}', '{"version": 2}', '{"version": 2, "shape": 3}'])
def test_a_store_of_another_version_or_a_damaged_one_is_listed_and_removed(data, cache, marker):
    (build(data, cache).path / "store.json").write_text(marker)
    entry = only(cache)
    assert (entry.state, entry.images) == ("unusable", None)
    remove(entry)


def test_a_folder_without_a_marker_is_unusable(data, cache):
    (build(data, cache).path / "store.json").unlink()
    assert only(cache).state == "unusable"


def test_simulated_data_and_the_store_made_of_it(cache):
    open_store(Galaxy10Sim(20, 16, 3, cache), cache, progress=False)
    gc.collect()
    simulated, store = sorted(list_cache(cache), key=lambda entry: entry.name, reverse=True)
    assert simulated.name.startswith("simulated/galaxy10-")
    assert "samples 20, image_size 16, seed 3" in simulated.source
    assert store.origin.is_relative_to(simulated.path)
    with FileLock(store.lock):  # as long as it is built, its data stay
        store.path.rename(store.path.with_name(store.path.name + ".partial"))
        header = {"about": {"source": "Galaxy10Sim", "path": str(store.origin)}}
        (store.path.with_name(store.path.name + ".partial") / "blocks.jsonl").write_text(json.dumps(header))
        reading = next(entry for entry in list_cache(cache) if entry.name == simulated.name)
        with pytest.raises(DataError, match="in use"):
            remove(reading)
    remove(simulated)
    assert not simulated.path.exists()


def test_other_folders_are_neither_listed_nor_counted(cache):
    for name in ("stores/mine", "stores/.hidden", "simulated/notes", "stores/a-0123456789abcdef/x"):
        (cache / name).mkdir(parents=True)
    assert [entry.name for entry in list_cache(cache)] == ["a-0123456789abcdef"]


def test_no_cache_is_an_empty_list(tmp_path):
    assert list_cache(tmp_path / "absent") == []


def test_a_reader_that_comes_while_a_store_is_removed_builds_it_again(data, cache, monkeypatch):
    build(data, cache)
    gc.collect()
    entry, results = only(cache), []
    thread = threading.Thread(target=lambda: results.append(build(data, cache)))
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


def test_a_file_system_without_locks_or_rights_is_used_without_a_mark(data, cache, monkeypatch):
    def refuse(*_: object) -> None:
        raise PermissionError("read-only")

    build(data, cache)
    monkeypatch.setattr(use_mark.os, "utime", refuse)
    monkeypatch.setattr(use_mark.fcntl, "flock", refuse)
    store = build(data, cache)
    assert len(store.images) == 20
    assert use_mark.in_use(store.path / "store.json") is False
