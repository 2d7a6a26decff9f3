"""Large files from the network: mirrors in order, resumed where the line was cut, trusted only after their SHA256."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

import requests
from filelock import FileLock

from astroclf.data.progress import ProgressBar
from astroclf.errors import DownloadError

HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
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
    magic
        Its first bytes: they unmask an HTML page before gigabytes are hashed.
    min_bytes
        A shorter file cannot be it.
    home
        The page where a person finds it.
    """

    name: str
    urls: tuple[str, ...]
    sha256: str
    magic: bytes
    min_bytes: int
    home: str


GALAXY10 = RemoteFile(
    name="Galaxy10_DECals.h5",
    urls=(
        "https://www.astro.utoronto.ca/~hleung/shared/Galaxy10/Galaxy10_DECals.h5",
        "https://zenodo.org/records/10845026/files/Galaxy10_DECals.h5?download=1",
    ),
    sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
    magic=HDF5_MAGIC,
    min_bytes=2_000_000_000,
    home="https://zenodo.org/records/10845026",
)


class _MirrorFailed(Exception):
    """One mirror cannot serve the file; the next may."""


def wrong_content(head: bytes, magic: bytes, size: int, min_bytes: int = 1) -> str:
    """What a file is that should start with `magic` and have `min_bytes`, in words; empty when nothing is wrong."""
    if size == 0:
        return "empty (0 bytes)"
    if head.startswith(magic):
        return f"only {size:,} bytes long, too short to be the whole file" if size < min_bytes else ""
    start = head[:512].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")) or b"<html" in start:
        return "an HTML page, saved under the file's name"
    return f"something else: it starts with {head[:8]!r} instead of {magic!r}"


def fetch(
    remote: RemoteFile,
    target: Path,
    *,
    progress: bool = True,
    connect_timeout: float = 5.0,
    read_timeout: float = 30.0,
) -> Path:
    """Fetch `remote` to `target`, going on where an interrupted download ended (``target.part``).

    Parameters
    ----------
    remote
        What to fetch.
    target
        Where it goes; appears there only when complete and verified.
    progress
        Show bytes, rate and time left.
    connect_timeout, read_timeout
        Seconds to wait for a mirror's answer, and for its next bytes.

    Raises
    ------
    DownloadError
        No mirror gave the right file, or the disk is too small.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    with FileLock(f"{target}.lock"):
        if target.exists():  # another process was faster
            return target
        faults: list[str] = []
        for url in remote.urls:
            try:
                _fill(part, url, remote, progress=progress, timeouts=(connect_timeout, read_timeout))
                _verify(part, remote)
            except _MirrorFailed as error:
                faults.append(f"{url}: {error}")
                continue
            except OSError as error:
                raise DownloadError(
                    f"{part} cannot be written ({error}): make room or choose another place."
                ) from error
            part.replace(target)
            return target
    raise DownloadError(
        f"{remote.name} could not be fetched. {'; '.join(faults)}. Fetch it by hand from {remote.home} and put it at "
        f"{target}, or give its place as dataset.path=FILE."
    )


def _fill(part: Path, url: str, remote: RemoteFile, *, progress: bool, timeouts: tuple[float, float]) -> None:
    """Bring `part` to full length from one mirror, asking again for the rest as long as bytes arrive."""
    failures = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            _request(part, url, remote, start=before, progress=progress, timeouts=timeouts)
            return
        except requests.RequestException as error:
            after = part.stat().st_size if part.exists() else 0
            failures = 0 if after > before else failures + 1
            if failures >= ATTEMPTS_WITHOUT_PROGRESS or (failures and isinstance(error, requests.ConnectTimeout)):
                raise _MirrorFailed(_in_words(error)) from error


def _request(
    part: Path, url: str, remote: RemoteFile, *, start: int, progress: bool, timeouts: tuple[float, float]
) -> None:
    # identity: a transparently re-compressed body would make byte ranges meaningless
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeouts) as answer:
        if answer.status_code == 416:  # nothing left to send: complete, or longer than the file
            if answer.headers.get("Content-Range", "").endswith(f"/{start}"):
                return
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the partial file did not fit the mirror's")
        if answer.status_code not in (200, 206):
            raise _MirrorFailed(f"the server answered {answer.status_code} {answer.reason}")
        if answer.status_code == 206 and not answer.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            part.unlink(missing_ok=True)
            raise requests.ConnectionError("the server sent another range than asked for")
        if answer.status_code == 200:
            start = 0  # the server knows no ranges: all of it again
        length = answer.headers.get("Content-Length")
        total = start + int(length) if length and length.isdigit() else None
        if total is not None and total < remote.min_bytes and "html" not in answer.headers.get("Content-Type", ""):
            raise _MirrorFailed(f"the server's file has {total:,} bytes, too few to be {remote.name}")
        _check_room(part, (total or remote.min_bytes) - start)
        pieces = answer.iter_content(PIECE_BYTES)
        with (
            part.open("ab" if start else "wb") as file,
            ProgressBar(f"Fetching {remote.name}", total, "bytes", done=start, enabled=progress) as bar,
        ):
            for piece in pieces:
                if file.tell() == 0 and (fault := wrong_content(piece, remote.magic, len(piece))):
                    raise _MirrorFailed(f"got {fault}")
                file.write(piece)
                bar.advance(len(piece))


def _check_room(part: Path, needed: int) -> None:
    free = shutil.disk_usage(part.parent).free
    if free < needed + SPARE_BYTES:
        raise DownloadError(
            f"{part.parent} has {free / 1e9:.1f} GB free, but {needed / 1e9:.1f} GB are still to be fetched: make room "
            "or choose another place with dataset.path= or dataset.cache_dir=."
        )


def _verify(part: Path, remote: RemoteFile) -> None:
    """Size and magic bytes first, SHA256 last; a part that fails is removed, for resuming it could never succeed."""
    size = part.stat().st_size if part.exists() else 0
    with part.open("rb") if size else part.open("a+b") as file:
        fault = wrong_content(file.read(512), remote.magic, size, remote.min_bytes)
        if not fault:
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != remote.sha256.lower():
                fault = (
                    f"a file of {size:,} bytes with SHA256 {digest[:16]}... instead of {remote.sha256[:16].lower()}..."
                )
    if fault:
        part.unlink(missing_ok=True)
        raise _MirrorFailed(f"got {fault}")


def _in_words(error: requests.RequestException) -> str:
    if isinstance(error, requests.ConnectTimeout):
        return "no answer within the time limit"
    if isinstance(error, requests.exceptions.SSLError):
        return "the secure connection failed"
    if isinstance(error, requests.ReadTimeout):
        return "the server stopped sending"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the line was cut again and again"
    if isinstance(error, requests.ConnectionError):
        return "no connection (is this machine offline?)"
    return str(error)
