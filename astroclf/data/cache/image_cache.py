"""ImageCache: a data set decoded once into one uint8 .npy file, mapped into memory by every later run.

Use leaves a mark on the marker file and writes no data: the time of the last use is the file's modification time, and
"in use" is a shared lock that the operating system drops when the process ends, however it ends. Windows refuses to
delete a mapped file by itself, and needs no lock.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import weakref
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from filelock import FileLock, Timeout

from astroclf.data.cache.builder import (
    DIGEST_COLUMNS,
    IMAGES_FILE,
    LOCK_SUFFIX,
    MARKER_FILE,
    PACKED_IMAGES_FILE,
    PACKED_THUMBNAILS_FILE,
    SAMPLES_FILE,
    THUMBNAILS_FILE,
    VERSION,
    build_image_cache,
    writing_to,
)
from astroclf.data.cache.packed import Images, PackedImages
from astroclf.data.catalog import THUMBNAIL_SIDE, Catalog, DatasetReader
from astroclf.data.decode.tone import tones_from_plain
from astroclf.errors import ConfigError, DataError
from astroclf.settings.dataset import CacheCompression, OnError
from astroclf.util.logs import log, log_to_file

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

STORES_FOLDER = "stores"  # below the cache folder
ERRORS_SHOWN = 5


class Skipped(NamedTuple):
    """A sample whose image could not be read."""

    id: str
    message: str  # one paragraph naming the file
    kind: str  # of `ImageError`


class Noted(NamedTuple):
    """A sample whose image is used, and what is to be said of it."""

    id: str
    kind: str  # of `Note`
    message: str  # one sentence naming the file


@dataclass(frozen=True)
class ImageCache:
    """The prepared images of a data set and what is known about them, row by row.

    Attributes
    ----------
    images
        (N, S, S, C) uint8, mapped from disk, read-only; or compressed, and decoded row by row (`PackedImages`).
    thumbnails
        (N, T, T) uint8, likewise: each source as a small grey square, by which near copies are found.
    catalog
        The samples; those that could not be read are left out.
    digests
        (N,) str, hex: the content of each sample's source, from which splits are drawn.
    pixel_digests
        (N,) str, hex: the numbers in it, by which exact copies are found. Neither these nor digests and thumbnails
        depend on what images are prepared to.
    fingerprint
        Hex digest of the reader and its preparation.
    path
        The folder of all this.
    skipped
        What could not be read.
    noted
        What was guessed in reading the images, or strikes the eye.
    tones
        How each kind of numbers became grey, as plain values of `Tone`.
    decoded
        How many images this process decoded to have it; 0: it was there.
    """

    images: Images
    thumbnails: Images
    catalog: Catalog
    digests: np.ndarray
    pixel_digests: np.ndarray
    fingerprint: str
    path: Path
    skipped: tuple[Skipped, ...]
    noted: tuple[Noted, ...] = ()
    tones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decoded: int = 0

    @property
    def compression(self) -> CacheCompression:
        """How the images are kept on the disk."""
        return "jpegxl" if isinstance(self.images, PackedImages) else "none"

    def tone_sentences(self) -> list[str]:
        """Say how each kind of numbers became grey, in a line each."""
        return [tone.sentence(kind) for kind, tone in tones_from_plain(self.tones).items()]


def open_image_cache(
    reader: DatasetReader,
    cache_dir: Path,
    *,
    on_error: OnError = "raise",
    compression: CacheCompression = "none",
    num_workers: int | None = None,
    progress: bool = True,
) -> ImageCache:
    """Open the image cache of a reader's data set under ``cache_dir/stores``; build it when it is not there yet.

    Building takes all cores, goes on where an interrupted process stopped, and is done by one process at a time;
    others wait for it. A folder gets its name only when it is complete.

    Parameters
    ----------
    reader
        What to decode.
    cache_dir
        Where image caches are kept.
    on_error
        ``raise``: a file that cannot be read is a DataError; ``skip``: it is left out, logged, and listed in `skipped`.
    compression
        How images are kept that must be decoded now: ``none``, or ``jpegxl``, lossless. Images that are there already
        are used as they are.
    num_workers
        Threads that decode; None takes one a core.
    progress
        Show images, rate and time left.

    Raises
    ------
    DataError
        Files that cannot be read, or a disk that is too small.
    """
    if on_error not in get_args(OnError):
        raise ConfigError(f"dataset.on_error={on_error} is neither raise nor skip.")
    fingerprint = reader.fingerprint()
    folder = image_cache_folder(reader, cache_dir, fingerprint)
    cache = _read(folder, fingerprint)
    if cache is None:
        with writing_to(folder.parent):
            folder.parent.mkdir(parents=True, exist_ok=True)
        with _lock(folder, progress):
            cache = _read(folder, fingerprint)  # another process may have built it while this one waited
            if cache is None:
                decoded = build_image_cache(
                    reader, folder, fingerprint, compression=compression, num_workers=num_workers, progress=progress
                )
                cache = _read(folder, fingerprint)
                cache = cache and replace(cache, decoded=decoded)
    if cache is None:
        raise DataError(f"The image cache {folder} was changed by something else while it was being built: run again.")
    if not cache.decoded and compression != cache.compression:
        log.info(
            "The images are there already, with dataset.cache_compression=%s, and are used as they are; "
            "`astroclf stores remove=%s` lets them be prepared anew.", cache.compression, folder.name,
        )  # fmt: skip
    _say_tones(cache)
    _check_skipped(cache, on_error)
    _say_notes(cache)
    return cache


def image_cache_folder(reader: DatasetReader, cache_dir: Path, fingerprint: str | None = None) -> Path:
    """Return the folder where the image cache of a reader's data set is, or will be."""
    fingerprint = fingerprint or reader.fingerprint()
    return Path(cache_dir).expanduser() / STORES_FOLDER / f"{type(reader).__name__.lower()}-{fingerprint[:16]}"


@contextmanager
def _lock(folder: Path, progress: bool) -> Iterator[None]:
    lock = FileLock(folder.with_name(folder.name + LOCK_SUFFIX))
    with writing_to(folder.parent):
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if progress:
                print("Another process is preparing these images: waiting for it.", file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _read(folder: Path, fingerprint: str) -> ImageCache | None:
    """Map an image cache; return None when it is not there, not complete, damaged, or of something else."""
    try:
        marker = json.loads((folder / MARKER_FILE).read_text(encoding="utf-8"))
        if marker["version"] != VERSION or marker["fingerprint"] != fingerprint:
            return None
        if any((folder / name).stat().st_size != size for name, size in marker["sizes"].items()):
            return None
        images, thumbnails = _map(folder, tuple(marker["shape"]), marker.get("compression", "none"))
        with np.load(folder / SAMPLES_FILE, allow_pickle=False) as saved:
            columns = {name: saved[name] for name in saved.files}
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None
    known = {f.name for f in fields(Catalog)}
    if list(images.shape) != marker["shape"] or not {*DIGEST_COLUMNS} <= columns.keys() <= {*DIGEST_COLUMNS, *known}:
        return None
    if any(len(column) != len(images) for column in (thumbnails, *columns.values())):
        return None
    digests = {name: columns.pop(name) for name in DIGEST_COLUMNS}
    mark_use(folder / MARKER_FILE, images)
    return ImageCache(
        images=images,
        thumbnails=thumbnails,
        catalog=Catalog(classes=tuple(marker["classes"]), **columns),
        **digests,
        fingerprint=fingerprint,
        path=folder,
        skipped=tuple(Skipped(*skipped) for skipped in marker["skipped"]),
        noted=tuple(Noted(*note) for note in marker["notes"]),
        tones=marker["tones"],
    )


def _map(folder: Path, shape: tuple[int, ...], compression: str) -> tuple[Images, Images]:
    """Map images and thumbnails from disk."""
    if compression == "none":
        plain = (np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (IMAGES_FILE, THUMBNAILS_FILE))
        return next(plain), next(plain)
    thumbnails = PackedImages(folder / PACKED_THUMBNAILS_FILE, (shape[0], THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return PackedImages(folder / PACKED_IMAGES_FILE, shape), thumbnails


def _say_tones(cache: ImageCache) -> None:
    """Say how numbers became grey: in the terminal when they did, later in the log file alone."""
    say = log.info if cache.decoded else log_to_file
    for sentence in cache.tone_sentences():
        say(sentence)


def _check_skipped(cache: ImageCache, on_error: OnError) -> None:
    if not cache.skipped:
        return
    shown = "; ".join(skipped.message.rstrip(".") for skipped in cache.skipped[:ERRORS_SHOWN])
    more = len(cache.skipped) - ERRORS_SHOWN
    shown += f"; and {more} more" if more > 0 else ""
    files = f"{len(cache.skipped)} of {len(cache.skipped) + len(cache.catalog)} files"
    if on_error == "raise":
        raise DataError(
            f"{files} hold no usable image: {shown}. Mend them, or leave them out with dataset.on_error=skip."
        )
    kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(s.kind for s in cache.skipped).most_common())
    log.warning(
        "%s hold no usable image and are left out (%s): %s. All are listed in %s.",
        files, kinds, shown, cache.path / MARKER_FILE,
    )  # fmt: skip
    if more > 0:
        log_to_file("\n".join(["Left out:", *(skipped.message for skipped in cache.skipped)]), logging.WARNING)


def _say_notes(cache: ImageCache) -> None:
    """Log what was guessed in reading the images: one line a kind, with the first image and their number."""
    for kind, count in Counter(note.kind for note in cache.noted).items():
        first = next(note.message for note in cache.noted if note.kind == kind)
        images = "1 image" if count == 1 else f"{count:,} images, the first"
        log.warning("%s%s (%s): %s", kind[:1].upper(), kind[1:], images, first)


# ---- marks of use ---------------------------------------------------------------------------------------------------


def mark_use(marker: Path, user: object) -> None:
    """Note on its marker file that an image cache is used, from now until `user` (the mapped images) is gone.

    A cache that is read-only, or on a file system without locks, is used without a mark.
    """
    with suppress(OSError):
        os.utime(marker)
    if fcntl is not None:
        with suppress(OSError):
            handle = os.open(marker, os.O_RDONLY)
            weakref.finalize(user, os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_SH)


def last_use(marker: Path) -> float:
    """Return the time when an image cache was last used, in seconds since the epoch."""
    return marker.stat().st_mtime


def in_use(marker: Path) -> bool:
    """Tell if a process (this one included) has the images mapped, as far as can be told."""
    if fcntl is None:
        return False
    try:
        # Open for writing where allowed: network file systems want that for an exclusive lock.
        handle = os.open(marker, os.O_RDWR if os.access(marker, os.W_OK) else os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no locks on this file system
        return False
    finally:
        os.close(handle)
    return False
