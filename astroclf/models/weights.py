"""Pretrained weights: fetched once with their hash checked, read without running pickled code, fitted to a network."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from astroclf.errors import DownloadError, WeightsError
from astroclf.util.download import RemoteFile, fetch, wrong_file
from astroclf.util.lazy import lazy_import
from astroclf.util.text import nearest_path

if TYPE_CHECKING:
    from safetensors import torch as safetensors_torch
else:
    safetensors_torch = lazy_import("safetensors.torch")

PATIENCE_SECONDS = 12.0  # enough to get past a dead name server, or several dead addresses
NO_PRETRAINED = "Train without pretrained weights (backbone.weights=null), or fetch the file elsewhere and name it: "
_WRAPPERS = ("module.", "_orig_mod.")  # prefixes that DistributedDataParallel and torch.compile put before each name
CHECKPOINT_FORMAT = 3  # of `engine.checkpoint`, whose files can be a backbone's weights
_CHECKPOINT_KEYS = ("ema", "model", "state_dict")  # where a training checkpoint keeps the network; averages first


class UnreadableTensors(Exception):
    """A file that holds no tensors, or more than tensors; the message is torch's reason, in one clause."""


def load_tensors(path: Path) -> Any:
    """Read a file that `torch.save` wrote onto the CPU: tensors and plain values only, no pickled code.

    Raises
    ------
    UnreadableTensors
        It is damaged, or would run code.
    OSError
        There is no such file, or it may not be read.
    """
    try:
        if path.suffix == ".safetensors":
            return safetensors_torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except Exception as error:  # half a dozen kinds, of a damaged file OSError too
        raise UnreadableTensors(re.split(r"[.\n]", str(error).strip())[0] or type(error).__name__) from error


def other_format(path: Path, found: Any) -> str:
    """Return the sentence that refuses a checkpoint which another version of astroclf wrote."""
    return (
        f"{path} is a checkpoint of format {found}; this version of astroclf reads format {CHECKPOINT_FORMAT}. Use it "
        "with the version that wrote it, or start a new run."
    )


def fetch_weights(remote: RemoteFile) -> Path:
    """Fetch a file into torch hub's own folder (below ``TORCH_HOME``), shared with torchvision; return its path.

    Raises
    ------
    WeightsError
        The server does not answer within seconds, or what it sends is not the file.
    """
    try:
        return fetch(remote, Path(torch.hub.get_dir()) / "checkpoints" / remote.name, patience=PATIENCE_SECONDS)
    except DownloadError as error:
        raise WeightsError(str(error)) from error


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the tensors of a ``state_dict`` file, or of the network in a training checkpoint, by name.

    Of a whole classifier only the backbone is returned. The file is read with ``weights_only=True``.

    Raises
    ------
    WeightsError
        There is no such file, or it holds no weights.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        meant = f"Did you mean {close}? " if (close := nearest_path(path)) else ""
        raise WeightsError(
            f"backbone.weights names {path}, where there is no file. {meant}Give the path of a state_dict (.pth) or of "
            "an astroclf checkpoint, the name of a model (models:/galaxy10@champion, a run folder …), "
            "backbone.weights=imagenet, or backbone.weights=null to start from random weights."
        )
    try:
        content = load_tensors(path)
    except (UnreadableTensors, OSError) as error:
        fault = wrong_file(path) or f"{path.stat().st_size:,} bytes of another format, damaged or cut off"
        raise WeightsError(
            f"{path} holds no weights that can be read: it is {fault}. It should be a state_dict written by "
            f"torch.save. {NO_PRETRAINED}backbone.weights=/path/to/file.pth."
        ) from error
    if isinstance(content, Mapping) and content.get("format", CHECKPOINT_FORMAT) != CHECKPOINT_FORMAT:
        raise WeightsError(other_format(path, content["format"]))
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
    """Fit a convolution kernel to another number of input channels; to a grey image it responds as before."""
    old = kernel_OIHW.shape[1]
    if channels == old:
        return kernel_OIHW
    return kernel_OIHW.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) * (old / channels)


def _unwrapped(name: str) -> str:
    for prefix in _WRAPPERS:
        name = name.removeprefix(prefix)
    return name


def _all_finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
