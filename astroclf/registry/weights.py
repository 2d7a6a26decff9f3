"""The weights in a package, and the network that is built for them: nothing that came with a model is run."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from astroclf.errors import ConfigError, WeightsError
from astroclf.inference.spec import SPEC_FILE, ModelSpec, damaged, shown
from astroclf.models.classifier import Classifier
from astroclf.models.network import build_network
from astroclf.models.weights import UnreadableTensors, load_tensors
from astroclf.settings.components import locate
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import safetensors
    from safetensors import torch as safetensors_torch
else:
    safetensors = lazy_import("safetensors")
    safetensors_torch = lazy_import("safetensors.torch")

WEIGHTS_FILE = "weights.pt"
SAFETENSORS_FILE = "model.safetensors"  # the name that the Hugging Face hub knows


def chosen_device(device: str) -> torch.device:
    """Return the device of a name; of ``auto``, the GPU if there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device)


def build_model(spec: ModelSpec, state: Mapping[str, Tensor], *, described_in: Path, weights_in: Path) -> Classifier:
    """Build the network and give it its weights, once it is certain that they fit: what does not, allocates nothing.

    Parameters
    ----------
    described_in, weights_in
        The files that errors name.

    Raises
    ------
    WeightsError
        It names a class outside astroclf, or the weights are of another network.
    """
    target = str(spec.backbone.get("_target_", ""))
    try:
        locate("backbone", target)
    except ConfigError as error:
        raise WeightsError(
            f"{described_in} asks for the network {shown(target)}. Only networks of the installed astroclf are "
            "built, since a model file must not choose what code runs here. If it is one of a newer astroclf, upgrade."
        ) from error
    try:
        spec.check_backbone()
        _refuse_unfitting(spec, state, described_in, weights_in)
        model = build_network(spec.network)
        model.load_state_dict(state, strict=True)
    except (ConfigError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(
            f"{described_in} does not describe a network that this version of astroclf can build: "
            f"{' '.join(str(error).split())[:400].rstrip('.')}. Use the version that wrote it, or fetch it again."
        ) from error
    return model


def _refuse_unfitting(spec: ModelSpec, state: Mapping[str, Tensor], described_in: Path, weights_in: Path) -> None:
    """Compare the weights with the network, which is built for it without memory (on torch's device ``meta``)."""
    try:
        with torch.device("meta"):
            wanted = {name: tuple(tensor.shape) for name, tensor in build_network(spec.network).state_dict().items()}
    except NotImplementedError:  # a backbone of another package that computes with its weights while it is built
        return
    found = {name: tuple(tensor.shape) for name, tensor in state.items()}
    faults = [f"there is no {name}" for name in wanted if name not in found]
    faults += [f"there is {name}, which the network has not" for name in found if name not in wanted]
    faults += [
        f"{name} has shape {found[name]} instead of {shape}"
        for name, shape in wanted.items()
        if name in found and found[name] != shape
    ]
    if faults:
        more = f" (and {len(faults) - 1} differences more)" if len(faults) > 1 else ""
        raise WeightsError(
            f"The weights in {weights_in} do not fit the network that {described_in.name} describes: {faults[0]}"
            f"{more}. Fetch or package the model again."
        )


def read_weights(folder: Path, spec: ModelSpec) -> dict[str, Tensor]:
    """Read the weights of a package, once it is certain that they are those which its description belongs to.

    Raises
    ------
    WeightsError
        They are missing, damaged, of another package, or hold anything but tensors.
    """
    path = weights_path(folder)
    try:
        state = safetensors_torch.load_file(path) if path.name == SAFETENSORS_FILE else load_tensors(path)
    except safetensors.SafetensorError as error:
        raise damaged(path, str(error)) from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}). Fetch the model again.") from error
    except UnreadableTensors as error:
        raise WeightsError(
            f"{path} was refused: it is damaged, or holds more than tensors (such files can run code when they are "
            "loaded). Nothing of it was run. Get the model again from where you trust it."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a table of tensors. Get the model again from where you trust it.")
    if spec.weights_sha256 != sha256(path):
        raise WeightsError(f"{path} is not the file that {SPEC_FILE} belongs to (its SHA-256 differs). Get both again.")
    if sum(tensor.numel() * tensor.element_size() for tensor in state.values()) > path.stat().st_size:
        raise damaged(path, "its tensors claim more numbers than it holds")
    return state


def weights_path(folder: Path) -> Path:
    """Return the file with the weights of a package: the one for the hub where it is there, else that of torch."""
    exported = folder / SAFETENSORS_FILE
    return exported if exported.is_file() else folder / WEIGHTS_FILE


def sha256(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
