"""Fetching from a real server, and reading real files."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch

from astroclf.errors import WeightsError
from astroclf.models import weights
from astroclf.models.weights import PretrainedFile, fetch, read_state, with_channels


def _saved(**tensors: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


CONTENT = _saved(weight=torch.arange(12.0))
FILE_NAME = "net-00000000.pth"


@dataclass
class Site:
    """A web server that answers every request as told."""

    url: str = ""
    status: int = 200
    body: bytes = CONTENT
    announced: int | None = None  # Content-Length, where it is not the truth
    requests: list[str] = field(default_factory=list)

    def file(self) -> PretrainedFile:
        return PretrainedFile(self.url + FILE_NAME, hashlib.sha256(CONTENT).hexdigest())


@pytest.fixture
def site() -> Iterator[Site]:
    told = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            told.requests.append(self.path)
            self.send_response(told.status)
            self.send_header("Content-Length", str(len(told.body) if told.announced is None else told.announced))
            self.end_headers()
            self.wfile.write(told.body)

        def log_message(self, *_args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.url = f"http://127.0.0.1:{server.server_port}/models/"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    yield told
    server.shutdown()
    server.server_close()


def test_fetched_once_and_then_kept(site: Site, tmp_path: Path) -> None:
    path = fetch(site.file(), tmp_path / "cache")
    assert path == tmp_path / "cache" / FILE_NAME
    assert path.read_bytes() == CONTENT
    assert fetch(site.file(), tmp_path / "cache") == path
    assert site.requests == [f"/models/{FILE_NAME}"]
    assert torch.equal(read_state(path)["weight"], torch.arange(12.0))


def test_the_default_cache_is_torch_hubs(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert fetch(site.file()) == tmp_path / "hub" / "checkpoints" / FILE_NAME


def test_a_damaged_file_in_the_cache_is_fetched_again(site: Site, tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(CONTENT[:100])
    assert fetch(site.file(), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("status", "body", "announced", "reason"),
    [
        (404, b"no such file", None, "the server answered 404"),
        (200, b"<!DOCTYPE html><html>Please log in</html>", None, "it is a web page of 41 bytes"),
        (200, b"", None, "it is empty"),
        (200, CONTENT[:300], len(CONTENT), f"the connection ended after 300 of {len(CONTENT):,} bytes"),
        (200, CONTENT[:300], None, "damaged or cut off after 300 bytes"),
        (200, _saved(weight=torch.zeros(12)), None, "what came is not the file"),
    ],
    ids=["not found", "web page", "empty", "line cut", "truncated", "other weights"],
)
def test_what_is_not_the_file_is_named_and_not_kept(
    site: Site, tmp_path: Path, status: int, body: bytes, announced: int | None, reason: str
) -> None:
    site.status, site.body, site.announced = status, body, announced
    with pytest.raises(WeightsError) as raised:
        fetch(site.file(), tmp_path)
    message = str(raised.value)
    assert reason in message
    assert site.url in message
    assert "backbone.weights=null" in message
    assert f"backbone.weights=/path/to/{FILE_NAME}" in message
    assert list(tmp_path.iterdir()) == []


def test_a_dead_server_is_given_up_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "SOCKET_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/{FILE_NAME}"
        start = time.monotonic()
        with pytest.raises(WeightsError, match=r"no answer within 0\.3 s"):
            fetch(PretrainedFile(url, "0" * 64), tmp_path)
        assert time.monotonic() - start < 3


def test_a_name_server_that_hangs_is_given_up_within_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name look-up happens in the C library, which knows no time-out of ours."""
    monkeypatch.setattr(weights, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_kwargs: time.sleep(2))
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"no answer within 0\.3 s"):
        fetch(PretrainedFile(f"http://weights.invalid/{FILE_NAME}", "0" * 64), tmp_path)
    assert time.monotonic() - start < 1.5


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>Moved</html>", "it is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer"),
        (CONTENT[: len(CONTENT) // 2], "damaged or cut off"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "of another format"),
    ],
    ids=["empty", "web page", "LFS", "truncated", "HDF5"],
)
def test_a_file_without_weights_is_described(tmp_path: Path, content: bytes, reason: str) -> None:
    path = tmp_path / "net.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=reason) as raised:
        read_state(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.pth, where there is no file.*backbone\.weights=null"):
        read_state(tmp_path / "gone.pth")


def test_something_else_than_named_tensors_is_refused(tmp_path: Path) -> None:
    torch.save([1, 2, 3], tmp_path / "list.pth")
    with pytest.raises(WeightsError, match=r"holds a list instead of named tensors"):
        read_state(tmp_path / "list.pth")


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "trapped"),)

    torch.save({"weight": torch.zeros(2), "trap": Trap()}, tmp_path / "trap.pth")
    with pytest.raises(WeightsError, match="holds no weights that can be read"):
        read_state(tmp_path / "trap.pth")
    assert not (tmp_path / "trapped").exists()


def test_wrappers_of_other_trainings_are_taken_off(tmp_path: Path) -> None:
    torch.save({"module._orig_mod.weight": torch.ones(2)}, tmp_path / "wrapped.pth")
    assert list(read_state(tmp_path / "wrapped.pth")) == ["weight"]


@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_a_grey_image_gets_the_same_response_through_any_number_of_channels(channels: int) -> None:
    kernel, grey = torch.randn(4, 3, 5, 5), torch.randn(1, 1, 9, 9)
    expected = torch.nn.functional.conv2d(grey.repeat(1, 3, 1, 1), kernel)
    response = torch.nn.functional.conv2d(grey.repeat(1, channels, 1, 1), with_channels(kernel, channels))
    torch.testing.assert_close(response, expected, rtol=1e-4, atol=1e-4)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3))
    state = network.state_dict()
    broken = {name: value.clone() for name, value in state.items()}
    broken["0.bias"][0] = torch.nan
    with pytest.raises(WeightsError, match=r"0\.bias contains values that are not finite"):
        weights.load_into(network, broken, "0.weight", tmp_path / "nan.pth")
    assert torch.isfinite(network[0].bias).all()
