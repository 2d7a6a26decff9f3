"""The trained model as others load it: a folder with ``model.json`` (what it is) and ``weights.pt`` (its numbers).

A folder that was exported for the Hugging Face hub has ``model.safetensors`` in place of ``weights.pt``.

Loading runs no pickled code and no code that came with the model: the network is rebuilt from astroclf's own classes by
the names in ``model.json``, and the weights are read with torch's restricted unpickler.

``mlflow.pyfunc.load_model`` comes in by `_load_pyfunc`. Registered models name this module as their loader, so its
dotted name, ``astroclf.registry.package``, and that function's stay as they are from now on.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from astroclf.errors import AstroclfError, ConfigError, WeightsError
from astroclf.inference.predictor import Predictor
from astroclf.inference.seen import SeenImages, read_seen, write_seen
from astroclf.inference.spec import SPEC_FILE, ModelSpec, damaged, read_spec, shown, write_spec
from astroclf.models.classifier import Classifier
from astroclf.models.network import build_network
from astroclf.models.weights import UnreadableTensors, load_tensors
from astroclf.registry.serving import ServedModel
from astroclf.settings.components import locate
from astroclf.util.atomic import atomic_path
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import safetensors
    from safetensors import torch as safetensors_torch
else:
    safetensors = lazy_import("safetensors")
    safetensors_torch = lazy_import("safetensors.torch")

WEIGHTS_FILE = "weights.pt"
SAFETENSORS_FILE = "model.safetensors"  # the name that the Hugging Face hub knows
LOADER_MODULE = "astroclf.registry.package"


def write_package(
    folder: str | Path, spec: Mapping[str, Any], state_dict: Mapping[str, Tensor], seen: SeenImages | None = None
) -> Path:
    """Write a model package, as `write_and_load` does, and return its folder."""
    write_and_load(folder, spec, state_dict, seen)
    return Path(folder)


def write_and_load(
    folder: str | Path,
    spec: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    seen: SeenImages | None = None,
    device: str = "cpu",
) -> Predictor:
    """Write a model package, load it to be sure that others can, and return it as loaded.

    Parameters
    ----------
    folder
        Made by this call, once the package loads; must not exist yet.
    spec
        The attributes of `ModelSpec`, of which those with a default can be left out, without ``weights_sha256``.
    state_dict
        Weights of the whole `Classifier`.
    seen
        The images that it was trained on, for whoever tests it.
    device
        Where the loaded model is.

    Raises
    ------
    WeightsError
        The description is of no model, or the weights do not fit it.
    AstroclfError
        The folder exists, or the disk is full.
    """
    folder = Path(folder)
    if folder.exists():
        raise AstroclfError(f"The model package {folder} exists already; remove it or write to another folder.")
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        with open(temporary / WEIGHTS_FILE, "wb") as file:  # by its path, torch would hide why a disk refuses
            torch.save({name: tensor.detach().cpu() for name, tensor in state_dict.items()}, file)
        try:
            described = ModelSpec(**spec, weights_sha256=sha256(temporary / WEIGHTS_FILE))
        except ConfigError as error:
            raise WeightsError(f"The model package {folder} was not written: {error}.") from error
        write_spec(temporary, described)
        if seen is not None:
            write_seen(temporary, seen)
        predictor = load_package(temporary, device)
    return predictor


def load_package(folder: str | Path, device: str = "auto", precision: str = "auto") -> Predictor:
    """Rebuild the model of a package.

    Parameters
    ----------
    device
        ``auto``: the GPU if there is one.
    precision
        Number format of its answers: bf16, fp16, fp32, or ``auto``, the fastest that the device does well.

    Raises
    ------
    WeightsError
        A file is missing or damaged, holds anything but plain values and tensors, or names a class outside astroclf.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    model = _build(folder, spec, _read_weights(folder, spec))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Predictor(model, spec, torch.device(device), read_seen(folder), precision)


def _load_pyfunc(data_path: str) -> ServedModel:
    """Load a package for ``mlflow.pyfunc.load_model``, which calls the function of this name."""
    return ServedModel(load_package(data_path))


def _build(folder: Path, spec: ModelSpec, state: Mapping[str, Tensor]) -> Classifier:
    """Build the network and give it its weights, once it is certain that they fit: what does not, allocates nothing."""
    target = str(spec.backbone.get("_target_", ""))
    try:
        locate("backbone", target)
    except ConfigError as error:
        raise WeightsError(
            f"{folder / SPEC_FILE} asks for the network {shown(target)}. Only networks of the installed astroclf are "
            "built, since a model file must not choose what code runs here. If it is one of a newer astroclf, upgrade."
        ) from error
    try:
        spec.check_backbone()
        _refuse_unfitting(folder, spec, state)
        model = build_network(spec.network)
        model.load_state_dict(state, strict=True)
    except (ConfigError, TypeError, ValueError, RuntimeError, ArithmeticError) as error:
        raise WeightsError(
            f"{folder / SPEC_FILE} does not describe a network that this version of astroclf can build: "
            f"{' '.join(str(error).split())[:400].rstrip('.')}. Use the version that wrote it, or fetch it again."
        ) from error
    return model


def _refuse_unfitting(folder: Path, spec: ModelSpec, state: Mapping[str, Tensor]) -> None:
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
            f"The weights in {weights_path(folder)} do not fit the network that {SPEC_FILE} describes: {faults[0]}"
            f"{more}. Fetch or package the model again."
        )


def _read_weights(folder: Path, spec: ModelSpec) -> dict[str, Tensor]:
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
