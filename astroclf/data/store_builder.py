"""Building a `PixelStore`: all cores decode, one thread writes, and a killed build goes on where it stopped.

A store grows in a folder ``NAME.partial`` that holds the images, and a record with one line for every finished block.
The record carries a checksum of the block's pixels, so that a block counts as finished only if its pixels really
reached the disk. When all is there, the marker is written and the folder renamed.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import warnings
import zlib
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from astroclf.data.samples import Block, SampleTable, Source
from astroclf.data.sources import HashedBlock, pixel_digest
from astroclf.errors import DataError
from astroclf.progress import ProgressBar

VERSION = 1  # of the files in a store's folder
IMAGES = "images.npy"
SAMPLES = "samples.npz"
MARKER = "store.json"  # written last: a folder without it is not a store
RECORD = "blocks.jsonl"
SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class Finished:
    """What is kept of a block besides its pixels; `digests` is empty text where a row could not be read."""

    start: int
    stop: int
    checksum: int
    digests: list[str]
    errors: dict[int, str]


@contextmanager
def writing_to(folder: Path) -> Iterator[None]:
    """Turn a full, read-only or forbidden disk into a DataError."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The image cache cannot be written to {folder} ({error.strerror or error}): make room, or choose another "
            "place with dataset.cache_dir=."
        ) from error


def build_store(source: Source, folder: Path, fingerprint: str, *, workers: int | None, progress: bool) -> None:
    """Decode every block of `source` and leave a complete store in `folder`; the caller holds the lock.

    Files that cannot be read are listed in the store's marker, and their rows left out of images and table.

    Raises
    ------
    DataError
        The disk is full, or not one file could be read.
    """
    partial = folder.with_name(folder.name + ".partial")
    shape = (len(source.table), source.image_size, source.image_size, source.channels)
    with writing_to(partial):
        finished = _resume(partial, source, fingerprint, shape)
        _check_room(partial, shape)
        with (
            (partial / IMAGES).open("r+b") as pixels,
            (partial / RECORD).open("a", encoding="utf-8") as record,
        ):
            for block, images in _decode(source, finished, workers or _cores(), progress):
                _write_rows(pixels, shape, block.start, images)
                pixels.flush()
                record.write(json.dumps(vars(block)) + "\n")
                record.flush()
                finished[block.start] = block
        _complete(partial, folder, source, fingerprint, shape, blocks=[finished[s] for s in sorted(finished)])


def _cores() -> int:
    """Cores that this process may use: fewer than the machine has, under SLURM and in containers."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _decode(
    source: Source, finished: dict[int, Finished], workers: int, progress: bool
) -> Iterator[tuple[Finished, np.ndarray]]:
    """Blocks that are not finished yet, as they come from the threads; few at a time, for they are large."""
    waiting = iter([rows for rows in source.blocks() if rows.start not in finished])
    done = sum(block.stop - block.start for block in finished.values())
    running: set[Future[tuple[Finished, np.ndarray]]] = set()
    title = "Preparing images"
    with (
        warnings.catch_warnings(action="ignore"),  # decoders' remarks about single files; faults come as errors
        ThreadPoolExecutor(workers, thread_name_prefix="prepare") as pool,
        ProgressBar(title, len(source.table), done=done, enabled=progress) as bar,
    ):
        try:
            while True:
                while len(running) <= workers and (rows := next(waiting, None)) is not None:
                    running.add(pool.submit(_decode_block, source, rows))
                if not running:
                    return
                ready, running = wait(running, return_when=FIRST_COMPLETED)
                for future in ready:
                    block, images = future.result()
                    yield block, images
                    bar.advance(block.stop - block.start)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _decode_block(source: Source, rows: range) -> tuple[Finished, np.ndarray]:
    try:
        block: Block = source.read(rows)
    except OSError as error:  # of the data set's disk: not to be taken for a fault of the cache's
        raise DataError(f"{source.table.ids[rows.start]} and the files after it cannot be read: {error}.") from error
    images = np.ascontiguousarray(block.images_BHWC)
    known = block.digests if isinstance(block, HashedBlock) else {}
    digests = [
        "" if row in block.errors else known.get(row) or pixel_digest(image)
        for row, image in zip(rows, images, strict=True)
    ]
    errors = {int(row): fault for row, fault in block.errors.items()}
    return Finished(rows.start, rows.stop, zlib.crc32(images.data), digests, errors), images


def _resume(partial: Path, source: Source, fingerprint: str, shape: tuple[int, ...]) -> dict[int, Finished]:
    """Blocks of an interrupted build whose pixels are intact, by first row; a fresh folder when there are none."""
    header = {"version": VERSION, "fingerprint": fingerprint, "shape": list(shape)}
    lines = _lines(partial / RECORD)
    size = _header_bytes(shape) + int(np.prod(shape))
    images = partial / IMAGES
    if not lines or lines[0] != header or not images.is_file() or images.stat().st_size != size:
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        with images.open("wb") as file:
            _write_header(file, shape)
            file.truncate(size)
        (partial / RECORD).write_text(json.dumps(header) + "\n", encoding="utf-8")
        return {}
    planned = {(rows.start, rows.stop) for rows in source.blocks()}
    finished: dict[int, Finished] = {}
    with images.open("rb") as file:
        for line in lines[1:]:
            block = Finished(**(line | {"errors": {int(row): fault for row, fault in line["errors"].items()}}))
            if (block.start, block.stop) not in planned or block.errors:  # files with a fault get a second chance
                continue
            if zlib.crc32(_read_rows(file, shape, block.start, block.stop)) == block.checksum:
                finished[block.start] = block
    # Written anew, for its last line may be half a line.
    text = "".join(json.dumps(line) + "\n" for line in [header, *(vars(block) for block in finished.values())])
    (partial / RECORD).write_text(text, encoding="utf-8")
    return finished


def _lines(record: Path) -> list[dict[str, Any]]:
    """The record's lines up to the first that is not whole."""
    lines: list[dict[str, Any]] = []
    if record.is_file():
        for text in record.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                lines.append(json.loads(text))
            except ValueError:
                break
    return lines


def _check_room(partial: Path, shape: tuple[int, ...]) -> None:
    status = (partial / IMAGES).stat()
    written = getattr(status, "st_blocks", 0) * 512  # the file is sparse until its blocks are written
    needed = max(0, status.st_size - written) + SPARE_BYTES
    free = shutil.disk_usage(partial).free
    if free < needed:
        raise DataError(
            f"The prepared images ({shape[0]:,} of {shape[1]} x {shape[2]} x {shape[3]}) need {needed / 1e9:.1f} GB, "
            f"but {partial.parent} has {free / 1e9:.1f} GB free: make room, choose another place with "
            "dataset.cache_dir=, or a smaller dataset.image_size."
        )


def _complete(
    partial: Path, folder: Path, source: Source, fingerprint: str, shape: tuple[int, ...], *, blocks: list[Finished]
) -> None:
    digests = np.array([digest for block in blocks for digest in block.digests])
    errors = {row: fault for block in blocks for row, fault in block.errors.items()}
    kept = np.array([row for row in range(shape[0]) if row not in errors], np.int64)
    if not len(kept):
        raise DataError(
            f"Not one of the {shape[0]} files holds a usable image; the first: {next(iter(errors.values()))}"
        )
    with (partial / IMAGES).open("r+b") as file:
        if errors:
            _close_gaps(file, shape, kept)
        os.fsync(file.fileno())
    table = source.table.take(kept)
    np.savez(partial / SAMPLES, digests=digests[kept], **_columns(table))
    marker = {
        "version": VERSION,
        "fingerprint": fingerprint,
        "shape": [len(kept), *shape[1:]],
        "classes": list(table.classes),
        "skipped": [[str(source.table.ids[row]), fault] for row, fault in sorted(errors.items())],
        "sizes": {name: (partial / name).stat().st_size for name in (IMAGES, SAMPLES)},
    }
    with (partial / MARKER).open("w", encoding="utf-8") as file:
        json.dump(marker, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    (partial / RECORD).unlink()
    shutil.rmtree(folder, ignore_errors=True)  # one that was not trusted
    partial.replace(folder)


def _columns(table: SampleTable) -> dict[str, Any]:
    columns = {f.name: getattr(table, f.name) for f in fields(table)}
    return {name: column for name, column in columns.items() if isinstance(column, np.ndarray)}


def _close_gaps(file: BinaryIO, shape: tuple[int, ...], kept: np.ndarray) -> None:
    """Move rows forward over those that could not be read, and shorten the file."""
    for position, row in enumerate(kept.tolist()):
        if position != row:
            image = np.frombuffer(_read_rows(file, shape, row, row + 1), np.uint8)
            _write_rows(file, shape, position, image)
    shorter = (len(kept), *shape[1:])
    file.seek(0)
    _write_header(file, shorter)
    file.truncate(_header_bytes(shorter) + int(np.prod(shorter)))
    file.flush()


def _write_header(file: BinaryIO, shape: tuple[int, ...]) -> None:
    header = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    # NumPy pads the header so that a first axis with fewer digits takes the same room: rows keep their place.


def _header_bytes(shape: tuple[int, ...]) -> int:
    buffer = io.BytesIO()
    _write_header(buffer, shape)
    return buffer.tell()


def _read_rows(file: BinaryIO, shape: tuple[int, ...], start: int, stop: int) -> bytes:
    row_bytes = int(np.prod(shape[1:]))
    file.seek(_header_bytes(shape) + start * row_bytes)
    return file.read((stop - start) * row_bytes)


def _write_rows(file: BinaryIO, shape: tuple[int, ...], start: int, images: np.ndarray) -> None:
    # Plain writes, not a memory map: a full disk is an error here, but kills a process that writes through a map.
    file.seek(_header_bytes(shape) + start * int(np.prod(shape[1:])))
    file.write(images.data)
