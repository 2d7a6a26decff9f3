"""Pretrained weights: fetched once with their hash checked, read without running pickled code, fitted to a network."""

from __future__ import annotations

import hashlib
import http.client
import logging
import pickle
import queue
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from astroclf.atomic import atomic_path
from astroclf.errors import WeightsError

logger = logging.getLogger(__name__)

SOCKET_SECONDS = 5.0  # to connect, and between two pieces of data
ANSWER_SECONDS = (
    12.0  # until the first byte: a dead name server, or many dead addresses, each cost a time-out of their own
)
_CHUNK = 1 << 20
_WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DistributedDataParallel and torch.compile put before each name
_CHECKPOINT_KEYS = ("average", "model", "state_dict")  # where a training checkpoint keeps the network; averages first
_REMEDY = "Train without pretrained weights (backbone.weights=null), or fetch the file elsewhere and name it: "


@dataclass(frozen=True)
class PretrainedFile:
    """A file of weights on the web: where, and the SHA-256 of its content."""

    url: str
    sha256: str

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


def fetch(file: PretrainedFile, cache_dir: str | Path | None = None) -> Path:
    """The file's path in the cache, downloaded when it is not there (or damaged there).

    Parameters
    ----------
    file : PretrainedFile
        Its URL and hash.
    cache_dir : path, optional
        Where files are kept; by default torch hub's own folder (set by ``TORCH_HOME``), shared with torchvision.

    Raises
    ------
    WeightsError
        The server does not answer within seconds, or what it sends is not the file.
    """
    path = Path(cache_dir if cache_dir is not None else Path(torch.hub.get_dir()) / "checkpoints") / file.name
    if path.is_file() and _sha256(path) == file.sha256:
        return path
    try:
        _download(file, path)
    except (OSError, http.client.HTTPException) as error:
        raise WeightsError(
            f"The pretrained weights {file.url} could not be fetched: {_reason(error)}. "
            f"{_REMEDY}backbone.weights=/path/to/{file.name}."
        ) from error
    return path


def read_state(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a ``state_dict`` file, or of the network in a training checkpoint, by name.

    Of a whole classifier only the backbone is returned. The file is read with ``weights_only=True``.

    Raises
    ------
    WeightsError
        There is no such file, or it holds no weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"backbone.weights names {path}, where there is no file. Give the path of a state_dict (.pth) or of an "
            "astroclf checkpoint, backbone.weights=imagenet, or backbone.weights=null to start from random weights."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise WeightsError(
            f"{path} holds no weights that can be read: {describe(path)}. It should be a state_dict written by "
            f"torch.save. {_REMEDY}backbone.weights=/path/to/file.pth."
        ) from error
    for key in _CHECKPOINT_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(value, Tensor) for value in content.values()):
        raise WeightsError(
            f"{path} holds a {type(content).__name__} instead of named tensors. Save the network's state_dict() with "
            "torch.save, and give that file as backbone.weights."
        )
    state = {_unwrapped(str(name)): value for name, value in content.items() if isinstance(value, Tensor)}
    backbone = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    return backbone or state


def load_into(network: nn.Module, state: Mapping[str, Tensor], first_conv: str, origin: str | Path) -> None:
    """Copy pretrained tensors into a network, the first convolution fitted to its number of image channels.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    state : mapping of str to Tensor
        Exactly the network's own entries.
    first_conv : str
        Name of the first convolution's weight. Where it takes another number of channels, each of the new channels
        gets the mean over the old ones, scaled so that a grey image gives the same response as before.
    origin : str or path
        Named in errors.

    Raises
    ------
    WeightsError
        Tensors are missing, superfluous, of another shape or not finite: another architecture, or a damaged file.
    """
    fitted = dict(state)
    own = network.state_dict()
    if first_conv in fitted and fitted[first_conv].ndim == 4:
        fitted[first_conv] = with_channels(fitted[first_conv], own[first_conv].shape[1])
    faults = [f"it lacks {name}" for name in own if name not in fitted and not name.endswith("num_batches_tracked")]
    faults += [f"it has {name}, which the network has not" for name in fitted if name not in own]
    faults += [
        f"{name} has shape {tuple(fitted[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in fitted and fitted[name].shape != own[name].shape
    ]
    faults += [
        f"{name} contains values that are not finite" for name, value in fitted.items() if not _all_finite(value)
    ]
    if faults:
        more = f" (and {len(faults) - 1} differences more)" if len(faults) > 1 else ""
        raise WeightsError(
            f"The weights in {origin} do not fit {type(network).__name__}: {faults[0]}{more}. They belong to another "
            "architecture, image size or option of the backbone; choose the backbone that they were trained with, or "
            "backbone.weights=null."
        )
    network.load_state_dict(fitted, strict=False)  # strict but for num_batches_tracked, which old files lack


def with_channels(kernel_OIHW: Tensor, channels: int) -> Tensor:
    """A convolution kernel for another number of input channels, which responds to a grey image as before."""
    old = kernel_OIHW.shape[1]
    if channels == old:
        return kernel_OIHW
    return kernel_OIHW.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) * (old / channels)


def describe(path: Path) -> str:
    """What a file seems to be, when it is not what it should be."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(512)
    return describe_bytes(head, size)


def describe_bytes(head: bytes, size: int) -> str:
    """What content with these first bytes and this size seems to be."""
    if size == 0:
        return "it is empty"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<head", b"<?xml")):
        return f"it is a web page of {size:,} bytes (a login or error page, perhaps)"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer, not the file itself (git lfs pull)"
    if head.startswith(b"PK"):
        return f"it is damaged or cut off after {size:,} bytes"
    return f"it is {size:,} bytes of another format, damaged or cut off"


def _download(file: PretrainedFile, path: Path) -> None:
    logger.info("Fetching %s into %s", file.url, path.parent)
    with _answer(file.url) as response, atomic_path(path) as temporary:
        expected = response.headers.get("Content-Length")
        digest, size, head = hashlib.sha256(), 0, b""
        with temporary.open("wb") as out:
            while chunk := response.read(_CHUNK):
                head = head or chunk[:512]
                size += len(chunk)
                digest.update(chunk)
                out.write(chunk)
        if expected is not None and size < int(expected):
            raise OSError(f"the connection ended after {size:,} of {int(expected):,} bytes")
        if digest.hexdigest() != file.sha256:
            raise OSError(
                f"what came is not the file (SHA-256 {digest.hexdigest()[:12]}... instead of {file.sha256[:12]}...): "
                f"{describe_bytes(head, size)}"
            )


def _answer(url: str) -> Any:
    """Open the URL, waiting no longer than ANSWER_SECONDS in all: name look-up has no time-out of its own."""
    box: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def ask() -> None:
        try:
            box.put(urllib.request.urlopen(url, timeout=SOCKET_SECONDS))
        except Exception as error:  # handed over, and raised in the caller's thread
            box.put(error)

    threading.Thread(target=ask, daemon=True, name="fetch-weights").start()
    try:
        answer = box.get(timeout=ANSWER_SECONDS)
    except queue.Empty:
        raise TimeoutError(f"no answer within {ANSWER_SECONDS:g} s") from None
    if isinstance(answer, BaseException):
        raise answer
    return answer


def _reason(error: BaseException) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answered {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, ssl.SSLError):
        return f"the secure connection failed ({error.reason.reason or error.reason})"
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return str(inner) if str(inner).startswith("no answer") else f"no answer within {SOCKET_SECONDS:g} s"
    return (inner.strerror if isinstance(inner, OSError) else None) or str(inner) or type(inner).__name__


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _all_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
