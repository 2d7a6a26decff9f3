"""Images that are kept compressed: the same to the bit, in less room, with all else as of plain ones."""

from __future__ import annotations

import re
import shutil
from collections import namedtuple
from pathlib import Path

import imagecodecs
import numpy as np
import pytest

from astroclf.data.cache import builder
from astroclf.data.cache.image_cache import image_cache_folder, open_image_cache
from astroclf.data.cache.listing import State, list_cache, remove, table
from astroclf.data.cache.packed import PackedFile, PackedImages
from astroclf.data.loader import PixelBuffer
from astroclf.errors import ConfigError, DataError
from astroclf.util.logs import log
from tests.data.cache.test_image_cache import ROWS, Numbers, Stops, assert_right, build

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def reader(tmp_path) -> Numbers:
    return Numbers(tmp_path / "reads.log")


def noise(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


@pytest.mark.parametrize("shape", [(9, 8, 12), (9, 8, 8, 1), (9, 8, 8, 2), (9, 8, 8, 3), (9, 8, 12, 4), (9, 8, 8, 7)])
def test_rows_come_out_to_the_bit_in_whatever_order_they_were_written(tmp_path, shape):
    rows = noise(*shape)
    with PackedFile(tmp_path / "a", shape) as file:
        for start in (6, 0, 3):
            file.write(start, file.packed(rows[start : start + 3]))
    packed = PackedImages(tmp_path / "a", shape)
    assert (packed.shape, packed.nbytes, len(packed)) == (shape, rows.nbytes, 9)
    np.testing.assert_array_equal(np.asarray(packed), rows)
    for chosen in (4, -1, slice(2, 7, 2), np.array([5, 5, 0]), np.arange(9) % 2 == 0, np.zeros(0, int)):
        np.testing.assert_array_equal(packed[chosen], rows[chosen])
    np.testing.assert_array_equal(np.stack(list(packed)), rows)
    with pytest.raises(IndexError):
        packed[9]


def test_rows_left_out_and_what_was_written_before(tmp_path):
    rows = noise(6, 8, 8, 3)
    with PackedFile(tmp_path / "a", rows.shape) as file:
        assert file.is_new
        file.write(0, file.packed(rows[:3]))
    with PackedFile(tmp_path / "a", rows.shape) as file:
        assert not file.is_new
        assert file.read(0, 3) == b"".join(file.packed(rows[:3]))
        file.write(3, file.packed(rows[3:]))
        file.keep(np.array([0, 2, 5]))
    np.testing.assert_array_equal(PackedImages(tmp_path / "a", (3, 8, 8, 3))[:], rows[[0, 2, 5]])


def test_a_compressed_cache_is_the_same_data_set_in_less_room(tmp_path):
    def smooth(row: int) -> np.ndarray:
        return np.repeat(np.add.outer(np.arange(64), np.arange(64) + row)[..., None], 3, axis=2).astype(np.uint8)

    class Smooth(Numbers):
        image_size = 64

        def read(self, rows):
            block = super().read(rows)
            return block._replace(images_BHWC=np.stack([smooth(row) for row in rows]))

    plain = build(Smooth(tmp_path / "log"), tmp_path / "plain")
    packed = build(Smooth(tmp_path / "log"), tmp_path / "packed", compression="jpegxl")
    np.testing.assert_array_equal(packed.images[:], plain.images)
    np.testing.assert_array_equal(packed.thumbnails[:], plain.thumbnails)
    assert packed.digests.tolist() == plain.digests.tolist()
    assert (packed.fingerprint, packed.path.name) == (plain.fingerprint, plain.path.name)
    whole, less = (sum(path.stat().st_size for path in cache.path.glob("images*")) for cache in (plain, packed))
    assert less < whole / 10
    assert build(Smooth(tmp_path / "log"), tmp_path / "packed", compression="jpegxl").decoded == 0


@pytest.mark.parametrize("place", ["device", "memory", "disk"])
def test_batches_are_the_same_wherever_images_live(reader, tmp_path, place):
    plain = build(reader, tmp_path / "plain")
    packed = build(reader, tmp_path / "packed", compression="jpegxl")
    rows = np.array([7, 0, 23, 7])
    batch = PixelBuffer(packed.images, place).gather(rows)
    np.testing.assert_array_equal(batch.numpy(), PixelBuffer(plain.images, place).gather(rows).numpy())


def test_unreadable_files_are_left_out(tmp_path):
    reader = Numbers(tmp_path / "log", bad=(0, 7, 23))
    cache = build(reader, tmp_path, on_error="skip", compression="jpegxl")
    assert_right(cache, [row for row in range(ROWS) if row not in reader.bad])


def test_an_interrupted_build_goes_on_and_does_not_mix_the_two_forms(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log"), tmp_path, compression="jpegxl", num_workers=1, progress=False)
    partial = image_cache_folder(Stops(tmp_path / "log"), tmp_path).with_suffix(".partial")
    shutil.copytree(partial, tmp_path / "kept")
    rest = Numbers(tmp_path / "rest")
    goes_on = image_cache_folder(rest, tmp_path).with_suffix(".partial")
    partial.rename(goes_on)
    cache = build(rest, tmp_path, compression="jpegxl")
    assert_right(cache)
    assert 0 < cache.decoded < ROWS
    other = Numbers(tmp_path / "other")
    shutil.rmtree(cache.path)
    (tmp_path / "kept").rename(goes_on)
    plain = build(other, tmp_path)
    assert_right(plain)
    assert plain.decoded == ROWS
    assert not list(plain.path.glob("*.jxl*"))


def test_an_index_that_a_failing_disk_changed_is_not_believed(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        open_image_cache(Stops(tmp_path / "log"), tmp_path, compression="jpegxl", num_workers=1, progress=False)
    partial = image_cache_folder(Stops(tmp_path / "log"), tmp_path).with_suffix(".partial")
    index = partial / "images.jxl.index.npy"
    index.write_bytes(index.read_bytes()[:128] + noise(ROWS * 16).tobytes())
    reader = Numbers(tmp_path / "rest")
    partial.rename(image_cache_folder(reader, tmp_path).with_suffix(".partial"))
    assert_right(build(reader, tmp_path, compression="jpegxl"))


def test_what_is_there_is_used_in_either_form_and_that_is_said(reader, tmp_path, caplog):
    caplog.set_level("INFO", log.name)
    build(reader, tmp_path)
    again = build(reader, tmp_path, compression="jpegxl")
    assert again.decoded == 0
    said = f"dataset.cache_compression=none, and are used as they are; `astroclf stores remove={again.path.name}`"
    assert any(said in message for message in caplog.messages)


def test_a_damaged_image_names_its_store_and_the_remedy(reader, tmp_path):
    cache = build(reader, tmp_path, compression="jpegxl")
    path = cache.path / "images.jxl"
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataError, match=rf"images\.jxl is damaged.*stores remove={re.escape(cache.path.name)}"):
        build(reader, tmp_path, compression="jpegxl").images[3]


def test_the_size_is_said_before_the_first_image_is_decoded(reader, tmp_path, caplog, monkeypatch):
    caplog.set_level("INFO", log.name)
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: Usage(0, 0, 5_000_000_000))
    said: list[int] = []
    monkeypatch.setattr(reader, "read", lambda rows: said.append(len(caplog.messages)) or Numbers.read(reader, rows))
    build(reader, tmp_path)
    assert said[0] == 1
    first = caplog.messages[0]
    assert first.startswith(
        "Preparing 24 images of 8 x 8 x 3: 192 bytes each and 4,096 of a thumbnail, 102.9 kB in all"
    )
    assert first.endswith("has 5.0 GB free")
    caplog.clear()
    build(Numbers(tmp_path / "log", salt="x"), tmp_path, compression="jpegxl")
    assert "before they are compressed (jpegxl)" in caplog.messages[0]
    assert re.match(r"Compressed, an image takes about [\d,]+ bytes", caplog.messages[1])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_decoded(reader, tmp_path, monkeypatch):
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: Usage(0, 0, builder.SPARE_BYTES + 1000))
    with pytest.raises(DataError, match=r"4,288 bytes each.*dataset\.cache_compression=jpegxl"):
        build(reader, tmp_path)
    assert reader.reads() == []


def test_a_disk_that_is_too_small_for_compressed_images_too_is_told_after_the_first_blocks(tmp_path, monkeypatch):
    reader = Numbers(tmp_path / "log")
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda _: Usage(0, 0, builder.SPARE_BYTES))
    with pytest.raises(DataError, match=r"need about .* more \(4 to go, of .* bytes each, compressed\).*goes on here"):
        open_image_cache(reader, tmp_path, compression="jpegxl", num_workers=0, progress=False)
    monkeypatch.undo()
    assert build(reader, tmp_path, compression="jpegxl").decoded < ROWS


def test_without_jpeg_xl_the_remedy_is_named(reader, tmp_path, monkeypatch):
    class Missing:
        available = False

    monkeypatch.setattr(imagecodecs, "JPEGXL", Missing)
    with pytest.raises(ConfigError, match=r"pip install --force-reinstall imagecodecs.*cache_compression=none"):
        build(reader, tmp_path, compression="jpegxl")


def test_stores_lists_and_removes_it(reader, tmp_path):
    cache = build(reader, tmp_path, compression="jpegxl")
    (entry,) = list_cache(tmp_path)
    assert entry.state == State.IN_USE
    assert "24, 8 px, jpegxl" in table([entry], tmp_path)
    path: Path = cache.path
    del cache
    (entry,) = list_cache(tmp_path)
    assert entry.state == State.WHOLE
    remove(entry)
    assert not path.exists()
