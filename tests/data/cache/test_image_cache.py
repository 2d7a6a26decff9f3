"""The image cache: built once, whole or not at all, whatever interrupts it."""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from astroclf.data.cache import builder
from astroclf.data.cache.image_cache import image_cache_folder, open_image_cache
from astroclf.data.cache.npy_file import RowFile
from astroclf.data.catalog import Block, Catalog, Note
from astroclf.data.decode.original import Original, array_digest, original_of
from astroclf.data.decode.tone import Tone
from astroclf.data.decode.values import Decoded, numbers
from astroclf.data.readers.blocks import decode_rows
from astroclf.data.readers.folder import ClassFolder
from astroclf.errors import ConfigError, DataError, ImageError
from astroclf.util.logs import log
from tests.data.readers.folders import put, write_rows

ROWS, SIDE, BLOCK = 24, 8, 5
NOTED = 7


class Numbers:
    """A reader whose images are known, and which counts how often a block was read."""

    image_size, channels = SIDE, 3

    def __init__(self, log: Path, bad: tuple[int, ...] = (), seconds: float = 0.0, salt: str = "") -> None:
        labels = np.arange(ROWS) % 3
        ids = np.array([f"n{row}" for row in range(ROWS)])
        group = np.array(["pair" if row < 2 else "" for row in range(ROWS)])
        self.catalog = Catalog(ids, labels, ("a", "b", "c"), ra_deg=np.linspace(0, 1, ROWS), group=group)
        self.log, self.bad, self.seconds, self.salt = log, bad, seconds, salt

    def fingerprint(self) -> str:
        return f"{len(self.salt):02d}{'ab' * 31}"

    def blocks(self) -> list[range]:
        return [range(start, min(start + BLOCK, ROWS)) for start in range(0, ROWS, BLOCK)]

    def read(self, rows: range) -> Block:
        with self.log.open("a") as log:
            log.write(f"{rows.start}\n")
        time.sleep(self.seconds)
        return decode_rows(rows, self.decode, "row {}".format, SIDE, 3)

    def decode(self, row: int) -> tuple[Decoded, Original]:
        if row in self.bad:
            raise ImageError(f"n{row}.fits: damaged.", "empty")
        original = original_of(numbers(expected(row)), array_digest(expected(row)), is_array=True)
        return Decoded(expected(row), (Note("guess", f"n{row}: upside down?"),) if row == NOTED else ()), original

    def reads(self) -> list[int]:
        return sorted(map(int, self.log.read_text().split())) if self.log.exists() else []


def expected(row: int) -> np.ndarray:
    return np.random.default_rng(row).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


@pytest.fixture
def reader(tmp_path):
    return Numbers(tmp_path / "reads.log")


def build(reader: Numbers, folder: Path, **options):
    return open_image_cache(reader, folder, progress=False, num_workers=2, **options)


def assert_right(cache, rows=range(ROWS)) -> None:
    assert len(cache.images) == len(cache.catalog) == len(cache.digests) == len(rows)
    for image, row in zip(cache.images, rows, strict=True):
        np.testing.assert_array_equal(image, expected(row))
    assert cache.catalog.ids.tolist() == [f"n{row}" for row in rows]


def test_holds_pixels_and_catalog(reader, tmp_path):
    cache = build(reader, tmp_path)
    assert cache.decoded == ROWS
    assert_right(cache)
    assert isinstance(cache.images, np.memmap)
    assert not cache.images.flags.writeable
    assert cache.catalog.classes == ("a", "b", "c")
    np.testing.assert_array_equal(cache.catalog.labels, reader.catalog.labels)
    np.testing.assert_array_equal(cache.catalog.ra_deg, reader.catalog.ra_deg)
    assert cache.catalog.group.tolist() == reader.catalog.group.tolist()
    assert cache.catalog.dec_deg is None
    assert len(set(cache.digests)) == ROWS
    assert cache.fingerprint == reader.fingerprint()
    np.testing.assert_array_equal(np.load(cache.path / "images.npy", mmap_mode="r"), cache.images)


def test_notes_and_how_numbers_became_grey_are_kept_and_said_and_not_measured_again(reader, tmp_path, caplog):
    tone = Tone("limits", "linear", 0.0, 1.5, "the largest is 1.5", 0.9)
    measured = []
    reader.decide_tones = lambda num_workers: measured.append(num_workers) or {"float": tone.to_plain()}
    caplog.set_level("INFO", log.name)
    for said in (1, 1):  # built, and opened again, when the line is for the log file alone
        cache = build(reader, tmp_path)
        assert [tuple(note) for note in cache.noted] == [(f"n{NOTED}", "guess", f"n{NOTED}: upside down?")]
        assert cache.tones == {"float": tone.to_plain()}
        assert cache.tone_sentences() == [tone.sentence("float")]
        assert caplog.messages.count(tone.sentence("float")) == said
    assert measured == [2]


def test_second_opening_decodes_nothing(reader, tmp_path):
    build(reader, tmp_path)
    assert reader.reads() == [0, 5, 10, 15, 20]
    again = build(reader, tmp_path)
    assert_right(again)
    assert again.decoded == 0
    assert reader.reads() == [0, 5, 10, 15, 20]


def test_changed_reader_makes_another_image_cache(reader, tmp_path):
    first = build(reader, tmp_path)
    second = build(Numbers(tmp_path / "other.log", salt="x"), tmp_path)
    assert first.path != second.path


def test_bad_files_raise_with_their_names_and_the_remedy(tmp_path):
    reader = Numbers(tmp_path / "log", bad=tuple(range(3, 12)))
    for _ in range(2):  # the second time, it is there
        with pytest.raises(DataError, match=r"9 of 24 files.*n3\.fits.*and 4 more.*dataset\.on_error=skip"):
            build(reader, tmp_path)


def test_bad_files_are_skipped_on_request(tmp_path):
    reader = Numbers(tmp_path / "log", bad=(0, 7, 23))
    cache = build(reader, tmp_path, on_error="skip")
    assert_right(cache, [row for row in range(ROWS) if row not in reader.bad])
    assert [skipped.id for skipped in cache.skipped] == ["n0", "n7", "n23"]
    assert cache.skipped[1] == ("n7", "n7.fits: damaged.", "empty")
    assert build(reader, tmp_path, on_error="skip").skipped == cache.skipped


def test_what_is_skipped_is_logged_with_all_of_it_in_the_log_file(tmp_path, caplog):
    reader = Numbers(tmp_path / "log", bad=tuple(range(3, 12)))
    handler = logging.FileHandler(tmp_path / "train.log")
    logging.getLogger().addHandler(handler)
    try:
        cache = build(reader, tmp_path, on_error="skip")
    finally:
        logging.getLogger().removeHandler(handler)
        handler.close()
    (shown,) = caplog.messages
    assert re.search(r"9 of 24 files .* left out \(9 empty\): n3\.fits: damaged; .*; and 4 more\.", shown)
    assert str(cache.path / "store.json") in shown
    written = (tmp_path / "train.log").read_text()
    for row in reader.bad:
        assert f"n{row}.fits: damaged." in written


def test_all_bad_is_an_error_even_when_skipping(tmp_path):
    with pytest.raises(DataError, match="Not one of the 24 files"):
        build(Numbers(tmp_path / "log", bad=tuple(range(ROWS))), tmp_path, on_error="skip")


def test_on_error_is_checked(reader, tmp_path):
    with pytest.raises(ConfigError, match="on_error"):
        build(reader, tmp_path, on_error="ignore")


class Stops(Numbers):
    """Fails in the fourth block, as a pulled cable would."""

    def read(self, rows: range) -> Block:
        if rows.start == 15:
            raise KeyboardInterrupt
        return super().read(rows)


def test_interrupted_build_goes_on_where_it_stopped(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log"), tmp_path, num_workers=1, progress=False)
    stopped = Stops(tmp_path / "log")
    first = stopped.reads()
    assert first[:3] == [0, 5, 10]
    rest = Numbers(tmp_path / "rest")
    partial = image_cache_folder(stopped, tmp_path).with_suffix(".partial")
    partial.rename(image_cache_folder(rest, tmp_path).with_suffix(".partial"))
    cache = build(rest, tmp_path)
    assert_right(cache)
    assert cache.decoded == sum(min(BLOCK, ROWS - start) for start in rest.reads()) < ROWS
    assert 15 in rest.reads()
    assert 0 not in rest.reads()


def test_a_file_that_was_bad_before_the_interruption_gets_a_second_chance(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log", bad=(1,)), tmp_path, num_workers=1, progress=False)
    rest = Numbers(tmp_path / "rest")
    partial = image_cache_folder(rest, tmp_path).with_suffix(".partial")
    image_cache_folder(Stops(tmp_path / "log"), tmp_path).with_suffix(".partial").rename(partial)
    assert_right(build(rest, tmp_path))
    assert 0 in rest.reads()
    assert 5 not in rest.reads()


def test_blocks_whose_pixels_were_lost_are_read_again(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log"), tmp_path, num_workers=1, progress=False)
    rest = Numbers(tmp_path / "rest")
    partial = image_cache_folder(rest, tmp_path).with_suffix(".partial")
    image_cache_folder(Stops(tmp_path / "log"), tmp_path).with_suffix(".partial").rename(partial)
    with (partial / "images.npy").open("r+b") as file:
        file.seek(128 + 6 * SIDE * SIDE * 3)
        file.write(bytes(SIDE))
    with (partial / "blocks.jsonl").open("a") as record:
        record.write('{"start": 15, "stop"')  # the line that was being written
    assert_right(build(rest, tmp_path))
    assert 5 in rest.reads()
    assert 0 not in rest.reads()


@pytest.mark.parametrize("line", ["[]", "5", '{"start": 0}', '{"start": [], "stop": {}}', '{"faults": 3}', "\0\0"])
def test_a_record_that_a_failing_disk_changed_is_not_believed(tmp_path, line):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log"), tmp_path, num_workers=1, progress=False)
    reader = Numbers(tmp_path / "rest")
    partial = image_cache_folder(reader, tmp_path).with_suffix(".partial")
    image_cache_folder(Stops(tmp_path / "log"), tmp_path).with_suffix(".partial").rename(partial)
    record = partial / "blocks.jsonl"
    header, *blocks = record.read_text().splitlines()
    spoilt = blocks[1].replace(json.loads(blocks[1])["digests"][0], "0" * 32)  # would hide that images are the same
    record.write_text("\n".join([header, blocks[0], spoilt, line, *blocks[2:]]))
    assert_right(build(reader, tmp_path))
    assert len(set(build(reader, tmp_path).digests)) == ROWS
    assert 0 not in reader.reads()
    assert 5 in reader.reads()


@pytest.mark.parametrize("header", ["", "{", "[1]", '{"version": 1}'])
def test_an_unfinished_build_without_a_readable_header_is_begun_anew(reader, tmp_path, header):
    partial = image_cache_folder(reader, tmp_path).with_suffix(".partial")
    partial.mkdir(parents=True)
    (partial / "blocks.jsonl").write_text(header)
    (partial / "rest").write_text("")
    cache = build(reader, tmp_path)
    assert_right(cache)
    assert not (cache.path / "rest").exists()


def build_slowly(folder: Path, log: Path) -> None:
    open_image_cache(Numbers(log, seconds=0.1), folder, num_workers=1, progress=False)


def test_killed_build_leaves_nothing_that_is_trusted_and_resumes(tmp_path):
    process = multiprocessing.get_context("spawn").Process(target=build_slowly, args=(tmp_path, tmp_path / "log"))
    process.start()
    reader = Numbers(tmp_path / "log")
    folder = image_cache_folder(reader, tmp_path)
    record = folder.with_suffix(".partial") / "blocks.jsonl"
    deadline = time.monotonic() + 30
    while not (record.exists() and record.read_text().count("\n") >= 3):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert not folder.exists()
    reader.log.unlink()
    assert_right(build(reader, tmp_path))
    assert 0 not in reader.reads()
    assert not folder.with_suffix(".partial").exists()


def test_two_processes_build_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=build_slowly, args=(tmp_path, tmp_path / "log")) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    reader = Numbers(tmp_path / "log")
    assert_right(build(reader, tmp_path))
    assert reader.reads() == [0, 5, 10, 15, 20]


def spoil_marker(folder: Path) -> None:
    (folder / "store.json").unlink()


def spoil_marker_text(folder: Path) -> None:
    (folder / "store.json").write_text("{")


def spoil_images(folder: Path) -> None:
    with (folder / "images.npy").open("r+b") as file:
        file.truncate(1000)


def spoil_samples(folder: Path) -> None:
    content = bytearray((folder / "samples.npz").read_bytes())
    content[200:260] = bytes(60)
    (folder / "samples.npz").write_bytes(content)


def spoil_fingerprint(folder: Path) -> None:
    marker = json.loads((folder / "store.json").read_text())
    (folder / "store.json").write_text(json.dumps(marker | {"fingerprint": "0" * 64}))


@pytest.mark.parametrize(
    "spoil", [spoil_marker, spoil_marker_text, spoil_images, spoil_samples, spoil_fingerprint, shutil.rmtree]
)
def test_damaged_image_cache_is_built_again(reader, tmp_path, spoil):
    spoil(build(reader, tmp_path).path)
    assert_right(build(reader, tmp_path))
    assert reader.reads() == sorted([0, 5, 10, 15, 20] * 2)


def test_too_small_a_disk_is_said_before_anything_is_decoded(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(builder, "SPARE_BYTES", 2**62)
    with pytest.raises(DataError, match=r"GB free.*dataset\.cache_dir"):
        build(reader, tmp_path)
    assert reader.reads() == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_disk_that_fills_up_is_a_data_error_and_no_image_cache(reader, tmp_path, monkeypatch):
    def write_to_full_disk(*_: object) -> None:
        with Path("/dev/full").open("wb", buffering=0) as full:
            full.write(b"x")

    monkeypatch.setattr(RowFile, "write", write_to_full_disk)
    with pytest.raises(DataError, match=r"No space left.*dataset\.cache_dir"):
        build(reader, tmp_path)
    assert not image_cache_folder(reader, tmp_path).exists()
    monkeypatch.undo()
    assert_right(build(reader, tmp_path))


def test_cache_folder_that_is_a_file(reader, tmp_path):
    (tmp_path / "stores").write_text("")
    with pytest.raises(DataError, match=r"dataset\.cache_dir"):
        build(reader, tmp_path)


def test_class_folder_from_files_to_image_cache(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("galaxy", "star"):
        (tmp_path / "sky" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (20, 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "sky" / name / f"{number}.png")
    shutil.copy(tmp_path / "sky" / "star" / "1.png", tmp_path / "sky" / "star" / "copy.png")
    (tmp_path / "sky" / "galaxy" / "2.png").write_bytes(b"")
    caches = [
        open_image_cache(ClassFolder(tmp_path / "sky", "found", size), tmp_path, on_error="skip", progress=False)
        for size in (16, 30)
    ]
    for cache in caches:
        assert [skipped.id for skipped in cache.skipped] == ["galaxy/2.png"]
        assert cache.catalog.class_counts().tolist() == [3, 5]
        digests = dict(zip(cache.catalog.ids.tolist(), cache.digests.tolist(), strict=True))
        assert digests["star/copy.png"] == digests["star/1.png"]
        assert len(set(digests.values())) == 7
    assert caches[0].images.shape == (8, 16, 16, 3)
    assert caches[0].digests.tolist() == caches[1].digests.tolist()  # the same images, at any size


def test_votes_stay_with_their_samples_past_files_that_cannot_be_read(tmp_path):
    put(tmp_path / "sky", *(f"{number}.png" for number in range(6)))
    (tmp_path / "sky" / "2.png").write_bytes(b"")
    rows = [f"{number}.png,{0.9 - number / 10:.1f},{0.1 + number / 10:.1f}" for number in range(6)]
    write_rows(tmp_path / "sky" / "votes.csv", "path,a,b", [rows[k] for k in (4, 0, 2, 3, 5, 1)])
    for _ in ("built", "there"):
        reader = ClassFolder(tmp_path / "sky", "found", 8, columns={"votes": ["a", "b"]}, on_unlabelled="skip")
        catalog = open_image_cache(reader, tmp_path, on_error="skip", progress=False).catalog
        assert catalog.votes.dtype == np.float32
        shares = dict(zip(catalog.ids.tolist(), catalog.votes[:, 1].tolist(), strict=True))
        expected = {f"{number}.png": 0.1 + number / 10 for number in (0, 1, 3, 5)}  # 2 is damaged, 4 has no winner
        assert shares == pytest.approx(expected)


def test_progress_is_plain_lines_without_a_terminal(reader, tmp_path, capfd):
    open_image_cache(reader, tmp_path, progress=True)
    lines = capfd.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert "24 of 24 images" in lines[0]
    assert "/s" in lines[0]
