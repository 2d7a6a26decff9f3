"""Files from the network: mirrors in order, resumed where the line was cut, trusted only after their SHA256."""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock

from astroclf.errors import DownloadError
from astroclf.util.progress import ProgressBar

CONNECT_SECONDS = 5.0  # for each of a mirror's addresses
PIECE_BYTES = 2**20
ATTEMPTS_WITHOUT_PROGRESS = 3
SPARE_BYTES = 64 * 2**20


@dataclass(frozen=True)
class RemoteFile:
    """A published file and how to recognise it.

    Attributes
    ----------
    name
        File name.
    urls
        Mirrors, best first.
    sha256
        Hex digest of the whole file.
    remedy
        What to do when it cannot be fetched: a sentence that ends the error.
    magic
        Its first bytes, where known: they unmask another file before gigabytes are hashed.
    min_bytes
        A shorter file cannot be it.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    remedy: str
    magic: bytes = b""
    min_bytes: int = 1


class _MirrorFailed(Exception):
    """One mirror cannot serve the file; the next may."""


def fetch(remote: RemoteFile, target: Path, *, patience: float = 30.0, progress: bool = True) -> Path:
    """Fetch `remote` to `target`, unless it is there; goes on where an interrupted download ended (``target.part``).

    Parameters
    ----------
    remote
        What to fetch.
    target
        Where it goes; appears there only when complete and verified. Another or a damaged file there is replaced.
    patience
        Longest wait for a mirror's answer (name look-up and connection included) and for its next bytes, in seconds.
    progress
        Show bytes, rate and time left.

    Raises
    ------
    DownloadError
        No mirror gave the right file, or the disk is too small or cannot be written to.
    """
    part = target.with_name(target.name + ".part")
    faults: list[str] = []
    try:
        if target.exists() and not _fault(target, remote):  # before the lock: a shared folder may be read-only
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{target}.lock"):
            if target.exists() and not _fault(target, remote):  # another process was faster
                return target
            for url in remote.urls:
                try:
                    _fill(part, url, remote, patience, progress)
                    if fault := _fault(part, remote):
                        part.unlink()  # resuming it could never succeed
                        raise _MirrorFailed(f"got {fault}")
                except _MirrorFailed as error:
                    faults.append(f"{url}: {error}")
                    continue
                part.replace(target)
                return target
    except OSError as error:  # of the disk: no other mirror would help
        faults = [error.strerror or str(error)]
    raise DownloadError(f"{remote.name} could not be fetched to {target}: {'; '.join(faults)}. {remote.remedy}")


def wrong_file(path: Path, magic: bytes = b"", min_bytes: int = 1) -> str:
    """Say what a file is that should start with `magic` and have `min_bytes`; nothing when it may be right."""
    with path.open("rb") as file:
        return _wrong_content(file.read(512), path.stat().st_size, magic, min_bytes)


def _wrong_content(head: bytes, size: int, magic: bytes, min_bytes: int = 1) -> str:
    if size == 0:
        return "empty (0 bytes)"
    if not (magic and head.startswith(magic)):
        start = head[:512].lstrip().lower()
        if start.startswith((b"<!doctype", b"<head", b"<?xml")) or b"<html" in start:
            return f"an HTML page of {size:,} bytes (a login or error page, perhaps) under the file's name"
        if start.startswith(b"version https://git-lfs"):
            return "a Git LFS pointer, not the file itself (git lfs pull)"
        if magic:
            return f"something else: it starts with {head[:8]!r} instead of {magic!r}"
    return f"only {size:,} bytes long, too short to be the whole file" if size < min_bytes else ""


def _fault(path: Path, remote: RemoteFile) -> str:
    """Say what a file is that should be `remote`; nothing when it is. Its hash comes last, for it takes longest."""
    if fault := wrong_file(path, remote.magic, remote.min_bytes):
        return fault
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest == remote.sha256.lower():
        return ""
    size = path.stat().st_size
    return f"a file of {size:,} bytes with SHA256 {digest[:16]}... instead of {remote.sha256[:16].lower()}..."


def _fill(part: Path, url: str, remote: RemoteFile, patience: float, progress: bool) -> None:
    """Bring `part` to full length from one mirror, asking again for the rest as long as bytes arrive."""
    failures = 0
    while True:
        before = _size(part)
        try:
            _request(part, url, remote, before, patience, progress)
            return
        except requests.RequestException as error:
            failures = 0 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS_WITHOUT_PROGRESS or (failures and isinstance(_root(error), TimeoutError)):
                raise _MirrorFailed(_in_words(error)) from error


def _request(part: Path, url: str, remote: RemoteFile, start: int, patience: float, progress: bool) -> None:
    with _answer(url, start, patience) as answer:
        if answer.status_code == 416:  # nothing left to send: complete, or longer than the file
            if answer.headers.get("Content-Range", "").endswith(f"/{start}"):
                return
            part.unlink(missing_ok=True)
            raise requests.RequestException("the partial file did not fit the mirror's")
        if answer.status_code not in (200, 206):
            raise _MirrorFailed(f"the server answered {answer.status_code} {answer.reason}")
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise requests.RequestException("the server sent another range than asked for")
        if answer.status_code == 200:
            start = 0  # the server knows no ranges: all of it again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total < remote.min_bytes and "html" not in answer.headers.get("Content-Type", ""):
            raise _MirrorFailed(f"the server's file has {total:,} bytes, too few to be {remote.name}")
        _check_room(part.parent, (total or remote.min_bytes) - start)
        pieces = answer.iter_content(PIECE_BYTES)
        first = next(pieces, b"")  # looked at before an earlier part is overwritten
        if start == 0 and (fault := _wrong_content(first, len(first), remote.magic)):
            raise _MirrorFailed(f"got {fault}")
        with (
            part.open("ab" if start else "wb") as file,
            ProgressBar(f"Fetching {remote.name}", total, "bytes", done=start, enabled=progress) as bar,
        ):
            for piece in itertools.chain([first], pieces):
                file.write(piece)
                bar.advance(len(piece))
            file.flush()
            os.fsync(file.fileno())  # before it is renamed: a power cut must not leave a hollow file


def _answer(url: str, start: int, patience: float) -> requests.Response:
    """Ask for a file from byte `start` on, in a thread that can be left behind: name look-up has no time-out."""
    # identity: a transparently re-compressed body would make byte ranges meaningless
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    answer: Future[requests.Response] = Future()

    def ask() -> None:
        try:
            answer.set_result(requests.get(url, headers=headers, stream=True, timeout=(CONNECT_SECONDS, patience)))
        except Exception as error:  # handed over, and raised in the caller's thread
            answer.set_exception(error)

    threading.Thread(target=ask, daemon=True, name="download").start()
    try:
        return answer.result(timeout=patience)
    except TimeoutError as error:
        raise requests.Timeout from error


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + SPARE_BYTES:
        raise OSError(f"{folder} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are still to be fetched")


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _root(error: BaseException) -> BaseException:
    """Return the socket's own error, which requests and urllib3 wrap several times."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _in_words(error: requests.RequestException) -> str:
    root = _root(error)
    reason = getattr(root, "strerror", None) or str(root)
    if isinstance(error, requests.Timeout):
        return "no answer within the time limit"
    if isinstance(root, TimeoutError):
        return "the server stopped sending"
    if isinstance(error, requests.exceptions.SSLError):
        return f"the secure connection failed ({reason})"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the line was cut again and again"
    if isinstance(error, requests.ConnectionError):
        return f"no connection ({reason}; is this machine offline?)"
    return str(error)
