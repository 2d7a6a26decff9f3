"""The building of an `ImageCache`: all cores decode, one thread writes, and a killed build goes on where it stopped.

It grows in a folder ``NAME.partial`` that holds the images, and a record with one line for every finished block.
The record carries a checksum of the block's pixels, so that a block counts as finished only if its pixels really
reached the disk. When all is there, the marker is written and the folder renamed.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from rich.filesize import decimal

from astroclf.data.cache.npy_file import RowFile
from astroclf.data.cache.packed import PackedFile
from astroclf.data.catalog import THUMBNAIL_SIDE, Block, Catalog, DatasetReader, Fault, HasTones, Note
from astroclf.errors import DataError
from astroclf.settings.dataset import CacheCompression
from astroclf.util.logs import log
from astroclf.util.progress import ProgressBar
from astroclf.util.threads import available_cores, run_ahead

VERSION = 6  # of the files in an image cache's folder
IMAGES_FILE = "images.npy"
THUMBNAILS_FILE = "thumbnails.npy"
PACKED_IMAGES_FILE, PACKED_THUMBNAILS_FILE = "images.jxl", "thumbnails.jxl"  # instead of these, where compressed
SAMPLES_FILE = "samples.npz"
DIGEST_COLUMNS = ("digests", "pixel_digests")  # in that file, beside those of the catalog
MARKER_FILE = "store.json"  # written last: a folder without it is no image cache
RECORD_FILE = "blocks.jsonl"
PARTIAL_SUFFIX = ".partial"  # what the folder is called until it is complete: its name and this
LOCK_SUFFIX = ".lock"  # likewise the file that whoever builds it holds
SPARE_BYTES = 64 * 2**20
LOOKED_AT = 4  # blocks, all over the data set, that tell how large compressed images are


@dataclass
class FinishedBlock:
    """A block in the record of an unfinished build; both digests are empty text where a row could not be read."""

    start: int
    stop: int
    checksum: int  # of images, thumbnails and digests
    digests: list[str]
    pixel_digests: list[str]
    faults: dict[int, Fault]
    notes: dict[int, tuple[Note, ...]]

    def __post_init__(self) -> None:  # JSON knows neither tuples nor keys that are numbers
        self.faults = {int(row): Fault(*fault) for row, fault in self.faults.items()}
        self.notes = {int(row): tuple(Note(*note) for note in notes) for row, notes in self.notes.items()}


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn the errors of a full, read-only or forbidden disk into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The image cache cannot be written to {folder} ({error.strerror or error}): make room, or choose another "
            "place with dataset.cache_dir=."
        ) from error


def build_image_cache(
    reader: DatasetReader,
    folder: Path,
    fingerprint: str,
    *,
    compression: CacheCompression,
    num_workers: int | None,
    progress: bool,
) -> int:
    """Decode every block of `reader` and leave a complete image cache in `folder`; the caller holds the lock.

    Files that cannot be read are listed in the marker, and their rows left out of images and catalog.

    Returns
    -------
    int
        How many images were decoded: those that an interrupted build has finished are not.

    Raises
    ------
    DataError
        The disk is full, or not one file could be read.
    """
    partial = folder.with_name(folder.name + PARTIAL_SUFFIX)
    shape = (len(reader.catalog), reader.image_size, reader.image_size, reader.channels)
    header = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "shape": list(shape),
        "compression": compression,
        "about": _describe(reader),
    }
    with (
        writing_to(partial),
        warnings.catch_warnings(action="ignore"),  # decoders' remarks about single files; faults come as errors
    ):
        _fresh_unless(partial, header)
        thumbnails_shape = (shape[0], THUMBNAIL_SIDE, THUMBNAIL_SIDE)
        with (
            _file(partial, IMAGES_FILE, PACKED_IMAGES_FILE, shape, compression) as images,
            _file(partial, THUMBNAILS_FILE, PACKED_THUMBNAILS_FILE, thumbnails_shape, compression) as thumbnails,
        ):
            finished = _resume(partial / RECORD_FILE, header, reader, images, thumbnails)
            written = done_before = sum(block.stop - block.start for block in finished.values())
            files = images, thumbnails
            _say_size(partial, files, written, compression)
            workers = num_workers or available_cores()
            with warnings.catch_warnings(action="ignore"):  # as below
                tones = reader.decide_tones(workers) if isinstance(reader, HasTones) else {}
            todo = [rows for rows in reader.blocks() if rows.start not in finished]
            if compression != "none":
                todo = _spread_first(todo)
            with (partial / RECORD_FILE).open("a", encoding="utf-8") as record:
                for number, (rows, block, packed) in enumerate(
                    _decode(reader, todo, files, workers, written, progress), 1
                ):
                    for file, parts in zip(files, packed, strict=True):
                        file.write(rows.start, parts)
                    digests = block.digests, block.pixel_digests
                    checksum = _checksum(*digests, (part for parts in packed for part in parts))
                    done = FinishedBlock(rows.start, rows.stop, checksum, *digests, block.faults, block.notes)
                    record.write(json.dumps(vars(done)) + "\n")
                    record.flush()
                    finished[rows.start] = done
                    written += len(rows)
                    if number % LOOKED_AT == 0 and compression != "none":
                        _check_compressed(partial, files, written, say=number == LOOKED_AT)
            blocks = [finished[start] for start in sorted(finished)]
            _complete(partial, folder, reader, fingerprint, files, blocks, tones, compression)
    return shape[0] - done_before


def _file(
    partial: Path, name: str, packed_name: str, shape: tuple[int, ...], compression: CacheCompression
) -> RowFile | PackedFile:
    if compression == "none":
        return RowFile(partial / name, shape)
    return PackedFile(partial / packed_name, shape)


def _spread_first(blocks: Sequence[range]) -> list[range]:
    """Bring blocks from all over the data set to the front: files are often sorted by class, and classes differ."""
    looked_at = {len(blocks) * number // LOOKED_AT for number in range(LOOKED_AT)} if blocks else set()
    order = [*sorted(looked_at), *(index for index in range(len(blocks)) if index not in looked_at)]
    return [blocks[index] for index in order]


def _describe(reader: DatasetReader) -> dict[str, str | None]:
    """Describe a reader for the list of caches; not part of what tells one image cache from another."""
    path = getattr(reader, "path", None)
    return {"reader": type(reader).__name__, "path": None if path is None else str(Path(path).absolute())}


def _checksum(digests: list[str], pixel_digests: list[str], pixels: Iterable[bytes | memoryview]) -> int:
    checksum = zlib.crc32("".join([*digests, *pixel_digests]).encode())
    for part in pixels:
        checksum = zlib.crc32(part, checksum)
    return checksum


def _decode(
    reader: DatasetReader,
    blocks: Sequence[range],
    files: tuple[RowFile | PackedFile, ...],
    num_workers: int,
    written: int,
    progress: bool,
) -> Iterator[tuple[range, Block, tuple[Sequence[bytes | memoryview], ...]]]:
    """Yield blocks in this order, with their images and thumbnails as the files take them."""

    def decode(rows: range) -> tuple[Block, tuple[Sequence[bytes | memoryview], ...]]:
        try:
            block = reader.read(rows)
        except OSError as error:  # of the data set's disk: not to be taken for a fault of the cache's
            first = reader.catalog.ids[rows.start]
            raise DataError(f"{first} and the files after it cannot be read: {error}.") from error
        parts = zip(files, (block.images_BHWC, block.thumbnails_BTT), strict=True)
        return block, tuple(file.packed(pixels) for file, pixels in parts)

    with (
        ProgressBar("Preparing images", len(reader.catalog), done=written, enabled=progress) as bar,
        closing(run_ahead(decode, blocks, num_workers)) as decoded,
    ):
        for rows, (block, packed) in zip(blocks, decoded, strict=True):
            yield rows, block, packed
            bar.advance(len(rows))


def _fresh_unless(partial: Path, header: dict[str, Any]) -> None:
    """Make an empty folder, unless there is one of an interrupted build of the same."""
    lines = read_record(partial / RECORD_FILE)
    found = {"compression": "none", **lines[0]} if lines else {}  # builds begun before there was any do not say so
    if any(found.get(name) != value for name, value in header.items() if name != "about"):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        (partial / RECORD_FILE).write_text(json.dumps(header) + "\n", encoding="utf-8")


def _resume(
    record: Path,
    header: dict[str, Any],
    reader: DatasetReader,
    images: RowFile | PackedFile,
    thumbnails: RowFile | PackedFile,
) -> dict[int, FinishedBlock]:
    """Return the blocks of an interrupted build whose pixels are intact, by first row."""
    planned = {(rows.start, rows.stop) for rows in reader.blocks()}
    finished: dict[int, FinishedBlock] = {}
    for line in [] if images.is_new or thumbnails.is_new else read_record(record)[1:]:
        try:
            block = FinishedBlock(**line)
            if (block.start, block.stop) not in planned or block.faults:  # files with a fault get a second chance
                continue
            pixels = (file.read(block.start, block.stop) for file in (images, thumbnails))
            if _checksum(block.digests, block.pixel_digests, pixels) == block.checksum:
                finished[block.start] = block
        except (TypeError, ValueError, AttributeError):
            continue  # a line that a failing disk changed
    # Written anew, for its last line may be half a line.
    text = "".join(json.dumps(line) + "\n" for line in [header, *(vars(block) for block in finished.values())])
    record.write_text(text, encoding="utf-8")
    return finished


def read_record(record: Path) -> list[dict[str, Any]]:
    """Read the lines of an interrupted build's record, its header first, up to the first that is not whole."""
    lines: list[dict[str, Any]] = []
    if record.is_file():
        for text in record.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                break
            if not isinstance(line, dict):
                break
            lines.append(line)
    return lines


def _say_size(
    partial: Path, files: tuple[RowFile | PackedFile, ...], written: int, compression: CacheCompression
) -> None:
    """Say what the images will take and what the disk has, before the first is decoded; refuse what cannot fit."""
    count, height, width, channels = files[0].shape
    image, thumbnail = (int(np.prod(file.shape[1:])) for file in files)
    total, missing = count * (image + thumbnail), sum(file.missing_bytes(written) for file in files)
    free = shutil.disk_usage(partial).free
    of = f"{count:,} images of {height} x {width} x {channels}"
    if compression == "none" and free < missing + SPARE_BYTES:
        raise DataError(
            f"The prepared images ({of}, {image + thumbnail:,} bytes each with the thumbnail) need "
            f"{decimal(missing + SPARE_BYTES)}, but {partial.parent} has {decimal(free)} free: make room, choose "
            "another place with dataset.cache_dir=, keep them compressed with dataset.cache_compression=jpegxl "
            "(about half the room, the same pixels), or choose a smaller dataset.image_size."
        )
    log.info(
        "Preparing %s: %s bytes each and %s of a thumbnail, %s in all%s%s; %s has %s free",
        of, f"{image:,}", f"{thumbnail:,}", decimal(total),
        f", {written:,} images of which are there" if written else "",
        "" if compression == "none" else f", before they are compressed ({compression})",
        partial.parent, decimal(free),
    )  # fmt: skip


def _check_compressed(partial: Path, files: tuple[RowFile | PackedFile, ...], written: int, *, say: bool) -> None:
    """Estimate by what is written what compressed images will take; refuse to go on where it cannot fit."""
    missing = sum(file.missing_bytes(written) for file in files)
    free, count = shutil.disk_usage(partial).free, files[0].shape[0]
    each = missing / (count - written) if count > written else 0
    if free < missing + SPARE_BYTES:
        raise DataError(
            f"The prepared images need about {decimal(missing + SPARE_BYTES)} more ({count - written:,} to go, of "
            f"{each:,.0f} bytes each, compressed), but {partial.parent} has {decimal(free)} free: make room and run "
            "again, which goes on here; or choose another place with dataset.cache_dir=, or a smaller "
            "dataset.image_size."
        )
    if say and each:
        log.info(
            "Compressed, an image takes about %s bytes with its thumbnail: %s in all",
            f"{each:,.0f}",
            decimal(int(each * count)),
        )


def _complete(
    partial: Path,
    folder: Path,
    reader: DatasetReader,
    fingerprint: str,
    files: tuple[RowFile | PackedFile, ...],
    blocks: list[FinishedBlock],
    tones: Mapping[str, Mapping[str, Any]],
    compression: CacheCompression,
) -> None:
    """Leave out what could not be read, write what is known of the rest, and give the folder its name."""
    total = len(reader.catalog)
    digests = {
        name: np.array([digest for block in blocks for digest in getattr(block, name)]) for name in DIGEST_COLUMNS
    }
    faults = {row: fault for block in blocks for row, fault in block.faults.items()}
    kept = np.array([row for row in range(total) if row not in faults], np.int64)
    if not len(kept):
        first = next(iter(faults.values())).message
        raise DataError(f"Not one of the {total} files holds a usable image; the first: {first}")
    for file in files:
        file.keep(kept)
        file.sync()
    catalog = reader.catalog.take(kept)
    columns: dict[str, Any] = {name: column[kept] for name, column in digests.items()}
    np.savez(partial / SAMPLES_FILE, **columns, **_columns(catalog))
    marker = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "shape": list(files[0].shape),
        "about": _describe(reader),
        "classes": list(catalog.classes),
        "tones": tones,
        "notes": [
            [str(reader.catalog.ids[row]), *note]
            for block in blocks
            for row, notes in sorted(block.notes.items())
            for note in notes
        ],
        "skipped": [[str(reader.catalog.ids[row]), *fault] for row, fault in sorted(faults.items())],
        "compression": compression,
        "sizes": {
            name: (partial / name).stat().st_size
            for name in (*(name for file in files for name in file.names), SAMPLES_FILE)
        },
    }
    with (partial / MARKER_FILE).open("w", encoding="utf-8") as text:
        json.dump(marker, text, indent=1)
        text.flush()
        os.fsync(text.fileno())
    (partial / RECORD_FILE).unlink()
    shutil.rmtree(folder, ignore_errors=True)  # one that was not trusted
    partial.replace(folder)


def _columns(catalog: Catalog) -> dict[str, Any]:
    columns = {f.name: getattr(catalog, f.name) for f in fields(catalog)}
    return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}
