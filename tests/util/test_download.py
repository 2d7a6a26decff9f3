"""Downloads from a real server on this machine that resumes, cuts the line, lies, and redirects."""

from __future__ import annotations

import hashlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from astroclf.data.readers.editions import DECALS
from astroclf.data.readers.galaxy10 import Galaxy10, Galaxy10Sdss
from astroclf.errors import DownloadError
from astroclf.util import download
from astroclf.util.download import RemoteFile, fetch

MAGIC = b"\x89HDF\r\n\x1a\n"
REMEDY = "Look at https://example.org/galaxies."
CONTENT = MAGIC + np.random.default_rng(0).integers(0, 256, 3_000_000, np.uint8).tobytes()


class Mirror(BaseHTTPRequestHandler):
    """Each path misbehaves in its own way; ``/good`` knows ranges."""

    protocol_version = "HTTP/1.1"
    requests: list[tuple[str, str | None]] = []  # noqa: RUF012 - shared by all requests on purpose

    def do_GET(self) -> None:
        self.requests.append((self.path, self.headers.get("Range")))
        getattr(self, f"serve_{self.path.strip('/')}")()

    def send(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:cut])
        self.close_connection = cut is not None

    def start(self) -> int:
        return int((self.headers.get("Range") or "bytes=0-").removeprefix("bytes=").removesuffix("-"))

    def serve_good(self, cut: int | None = None) -> None:
        start = self.start()
        if start >= len(CONTENT):
            self.send(416, b"", Content_Range=f"bytes */{len(CONTENT)}")
        elif start:
            whole = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
            self.send(206, CONTENT[start:], cut, Content_Range=whole)
        else:
            self.send(200, CONTENT, cut)

    def serve_cut(self) -> None:
        self.serve_good(cut=1_300_000)

    def serve_cutatonce(self) -> None:
        self.send(200, CONTENT, cut=300)

    def serve_norange(self) -> None:
        self.send(200, CONTENT)

    def serve_html(self) -> None:
        self.send(200, b"<!DOCTYPE html><html>Sign in</html>", Content_Type="text/html")

    def serve_lfs(self) -> None:
        self.send(200, b"version https://git-lfs.github.com/spec/v1\n")

    def serve_moved(self) -> None:
        self.send(301, b"", Location="/good")

    def serve_forbidden(self) -> None:
        self.send(403, b"no")

    def serve_empty(self) -> None:
        self.send(200, b"")

    def serve_wrong(self) -> None:
        self.send(200, MAGIC + bytes(len(CONTENT) - 8))

    def serve_short(self) -> None:
        self.send(200, CONTENT[:1000])

    def serve_otherrange(self) -> None:
        if self.headers.get("Range"):
            self.send(206, CONTENT[5:], Content_Range=f"bytes 5-{len(CONTENT) - 1}/{len(CONTENT)}")
        else:
            self.serve_good()

    def serve_silent(self) -> None:
        threading.Event().wait(1.0)

    def serve_stalls(self) -> None:
        self.send(200, CONTENT, cut=0)
        self.wfile.flush()
        self.serve_silent()

    def log_message(self, *_: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    """Neither waits for, nor complains about, clients that hang up."""

    block_on_close = False

    def handle_error(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with QuietServer(("127.0.0.1", 0), Mirror) as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def get(server, tmp_path, monkeypatch):
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    Mirror.requests.clear()

    def get(*paths: str, magic: bytes = MAGIC, min_bytes: int = 2_000_000, progress: bool = False) -> Path:
        remote = RemoteFile(
            name="galaxies.h5",
            urls=tuple(path if "://" in path else f"{server}/{path}" for path in paths),
            sha256=hashlib.sha256(CONTENT).hexdigest().upper(),
            remedy=REMEDY,
            magic=magic,
            min_bytes=min_bytes,
        )
        return fetch(remote, tmp_path / "data" / "galaxies.h5", patience=0.3, progress=progress)

    return get


def part_of(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir(exist_ok=True)
    return tmp_path / "data" / "galaxies.h5.part"


def left_behind(tmp_path: Path) -> list[str]:
    return sorted(file.name for file in (tmp_path / "data").iterdir() if file.suffix != ".lock")


def test_fetches_and_leaves_no_part(get, tmp_path):
    assert get("good").read_bytes() == CONTENT
    assert left_behind(tmp_path) == ["galaxies.h5"]


def test_progress_counts_what_was_there_before_as_done_but_not_as_speed(get, tmp_path, capfd):
    part_of(tmp_path).write_bytes(CONTENT[:2_000_000])
    get("good", progress=True)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("Fetching galaxies.h5: 3.0 MB of 3.0 MB, ")


def test_second_fetch_asks_nobody(get):
    get("good")
    Mirror.requests.clear()
    assert get("good").read_bytes() == CONTENT
    assert Mirror.requests == []


def test_a_file_in_a_folder_that_is_read_only_is_taken(get, tmp_path):
    get("good")
    (tmp_path / "data").chmod(0o500)
    try:
        assert get("good").read_bytes() == CONTENT
    finally:
        (tmp_path / "data").chmod(0o700)


def test_a_damaged_file_is_fetched_again(get):
    get("good").write_bytes(CONTENT[:-1])
    assert get("good").read_bytes() == CONTENT


def test_resumes_where_it_stopped(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:2_000_000])
    assert get("good").read_bytes() == CONTENT
    assert Mirror.requests == [("/good", "bytes=2000000-")]


def test_cut_line_is_taken_up_again(get):
    assert get("cut").read_bytes() == CONTENT
    assert len(Mirror.requests) > 1
    assert all(asked for _, asked in Mirror.requests[1:])


def test_server_without_ranges_starts_over(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:1000])
    assert get("norange").read_bytes() == CONTENT


def test_server_that_sends_another_range_is_not_believed(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:1000])
    assert get("otherrange").read_bytes() == CONTENT


def test_complete_part_is_only_verified(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT)
    assert get("good").read_bytes() == CONTENT


def test_part_longer_than_the_file_is_thrown_away(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT + b"more")
    assert get("good").read_bytes() == CONTENT


def test_follows_redirects(get):
    assert get("moved").read_bytes() == CONTENT


@pytest.mark.parametrize("first", ["html", "forbidden", "empty", "wrong", "short", "silent", "http://127.0.0.1:9/x"])
def test_next_mirror_when_the_first_fails(get, first):
    assert get(first, "good").read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("html", "HTML page of 35 bytes"),
        ("lfs", "bytes, too few"),
        ("forbidden", "403 Forbidden"),
        ("empty", "too few"),
        ("wrong", "SHA256"),
        ("short", "1,000 bytes, too few"),
        ("silent", "no answer within the time limit"),
        ("stalls", "the server stopped sending"),
        ("cutatonce", "the line was cut again and again"),
        ("http://127.0.0.1:9/x", "no connection (Connection refused"),
    ],
)
def test_failure_says_what_was_got_and_what_to_do(get, tmp_path, path, message):
    with pytest.raises(DownloadError, match=re.escape(message)) as caught:
        get(path)
    assert f"/{path.rpartition('/')[2]}: " in str(caught.value)
    assert str(tmp_path / "data" / "galaxies.h5") in str(caught.value)
    assert str(caught.value).endswith(REMEDY)
    assert left_behind(tmp_path) == []


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("html", "an HTML page"),
        ("lfs", "a Git LFS pointer"),
        ("empty", "0 bytes, too few"),
        ("short", "a file of 1,000 bytes with SHA256"),
        ("wrong", "SHA256"),
    ],
)
def test_of_a_file_only_the_hash_need_be_known(get, tmp_path, path, message):
    with pytest.raises(DownloadError, match=message):
        get(path, magic=b"", min_bytes=1)
    assert left_behind(tmp_path) == []
    assert get(path, "good", magic=b"", min_bytes=1).read_bytes() == CONTENT


def test_a_name_server_that_hangs_is_given_up_within_seconds(get, monkeypatch):
    """Name look-up happens in the C library, which knows no time-out of ours."""
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(DownloadError, match="no answer within the time limit"):
        get("http://galaxies.invalid/x")
    assert time.monotonic() - start < 1.5


def test_a_page_instead_of_the_rest_does_not_cost_what_is_there(get, tmp_path):
    part_of(tmp_path).write_bytes(CONTENT[:2_000_000])
    assert get("html", "good").read_bytes() == CONTENT
    assert Mirror.requests[-1] == ("/good", "bytes=2000000-")


def test_spoilt_part_does_not_spoil_the_next_mirror(get, tmp_path):
    part_of(tmp_path).write_bytes(b"\0" * 1000)
    assert get("good", "good").read_bytes() == CONTENT


def test_too_small_a_disk_is_said_before_the_first_byte(get, tmp_path, monkeypatch):
    monkeypatch.setattr(download, "SPARE_BYTES", 2**62)
    with pytest.raises(DownloadError, match="GB free"):
        get("good")
    assert left_behind(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_named(get, tmp_path):
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DownloadError, match=r"data/galaxies\.h5: (File exists|Not a directory)\. Look at"):
        get("good")


def test_galaxy10_is_fetched_when_asked(server, tmp_path, monkeypatch):
    import h5py

    with h5py.File(tmp_path / "small.h5", "w") as file:
        file["images"], file["ans"] = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
    content = (tmp_path / "small.h5").read_bytes()
    monkeypatch.setattr(Mirror, "serve_small", lambda self: self.send(200, content), raising=False)
    remote = replace(DECALS.remote, urls=(f"{server}/small",), sha256=hashlib.sha256(content).hexdigest(), min_bytes=1)
    monkeypatch.setattr(Galaxy10, "edition", replace(DECALS, remote=remote))
    reader = Galaxy10(None, download=True, cache_dir=tmp_path / "cache")
    assert len(reader.catalog) == 10
    assert reader.path == tmp_path / "cache" / "Galaxy10_DECals.h5"


def test_galaxy10_offline_says_where_to_put_the_file_and_finds_it_there(tmp_path, monkeypatch):
    import h5py

    offline = replace(DECALS.remote, urls=("http://127.0.0.1:9/x",))
    monkeypatch.setattr(Galaxy10, "edition", replace(DECALS, remote=offline))
    with pytest.raises(DownloadError, match=r"no connection.*offline.*put it there") as caught:
        Galaxy10(None, download=True, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)
    place = Path(re.search(r"could not be fetched to (\S+):", str(caught.value))[1])
    with h5py.File(place, "w") as file:
        file["images"], file["ans"] = np.zeros((10, 8, 8, 3), np.uint8), np.arange(10)
    for fetching in (False, True):
        assert Galaxy10(None, download=fetching, cache_dir=tmp_path).path == place


@pytest.mark.parametrize(("reader", "record"), [(Galaxy10, 10845026), (Galaxy10Sdss, 10844811)])
def test_galaxy10_that_cannot_be_fetched_names_the_ways_out(tmp_path, monkeypatch, reader, record):
    offline = replace(reader.edition.remote, urls=("http://127.0.0.1:9/x",))
    monkeypatch.setattr(reader, "edition", replace(reader.edition, remote=offline))
    with pytest.raises(DownloadError, match=rf"zenodo\.org/records/{record}.*dataset\.path=FILE.*dataset\.cache_dir="):
        reader(None, download=True, cache_dir=tmp_path)
