"""Where pretrained files come from, and reading real files."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import time
from pathlib import Path

import pytest
import torch

from astroclf.errors import WeightsError
from astroclf.models import weights
from astroclf.models.weights import fetch_weights, read_state, with_channels
from astroclf.util.download import RemoteFile


def _saved(**tensors: torch.Tensor) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensors, buffer)
    return buffer.getvalue()


CONTENT = _saved(weight=torch.arange(12.0))
FILE_NAME = "net-00000000.pth"


def remote(url: str = "http://127.0.0.1:9/") -> RemoteFile:
    return RemoteFile(FILE_NAME, (url + FILE_NAME,), hashlib.sha256(CONTENT).hexdigest(), "Try backbone.weights=null.")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where torch hub, and so torchvision, keeps the file."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    path = tmp_path / "hub" / "checkpoints" / FILE_NAME
    path.parent.mkdir(parents=True)
    return path


def test_a_file_that_torchvision_fetched_is_used(cached: Path) -> None:
    cached.write_bytes(CONTENT)
    assert fetch_weights(remote()) == cached
    assert torch.equal(read_state(cached)["weight"], torch.arange(12.0))


def test_a_damaged_file_is_not_used(cached: Path) -> None:
    cached.write_bytes(CONTENT[:100])
    with pytest.raises(WeightsError, match=r"Try backbone\.weights=null"):
        fetch_weights(remote())


def test_a_dead_server_is_given_up_within_seconds(cached: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "PATIENCE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and never says a word
        start = time.monotonic()
        with pytest.raises(WeightsError, match="no answer within the time limit"):
            fetch_weights(remote(f"http://127.0.0.1:{silent.getsockname()[1]}/"))
        assert time.monotonic() - start < 3
    assert not cached.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"<html>Moved</html>", "it is an HTML page"),
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


def test_a_checkpoint_of_another_format_is_refused_by_its_format(tmp_path: Path) -> None:
    torch.save({"format": 1, "model": {"weight": torch.ones(2)}}, tmp_path / "old.pt")
    with pytest.raises(WeightsError, match=r"old\.pt is a checkpoint of format 1; .* reads format 3"):
        read_state(tmp_path / "old.pt")


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
