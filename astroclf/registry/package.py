"""The trained model as others load it: a folder with ``model.json`` (what it is) and ``weights.pt`` (its numbers).

Loading runs no pickled code and no code that came with the model: the network is rebuilt from astroclf's own classes by
the names in ``model.json``, and the weights are read with torch's restricted unpickler.

``mlflow.pyfunc.load_model`` comes in by `_load_pyfunc`. Registered models name this module as their loader, so its
dotted name, ``astroclf.registry.package``, and that function's stay as they are from now on.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from astroclf.data.augment.recipe import Augmentation
from astroclf.data.decode.bands import to_channels
from astroclf.data.decode.images import fit_square
from astroclf.errors import AstroclfError, ConfigError, DataError, WeightsError
from astroclf.evaluation.inference import predict_proba
from astroclf.evaluation.predictions import Predictions
from astroclf.models.classifier import Classifier
from astroclf.models.network import NetworkSpec, build_network
from astroclf.models.weights import UnreadableTensors, load_tensors
from astroclf.settings.components import locate
from astroclf.util.atomic import atomic_path

FORMAT = 3
SPEC_FILE = "model.json"
WEIGHTS_FILE = "weights.pt"
LOADER_MODULE = "astroclf.registry.package"
DEFAULT_BATCH_SIZE = 32
_REQUIRED_KEYS = ("backbone", "classes", "image_size", "augment")


def write_package(folder: str | Path, spec: Mapping[str, Any], state_dict: Mapping[str, Tensor]) -> Path:
    """Write a model package, and load it once to be sure that others can.

    Parameters
    ----------
    folder
        Made by this call; must not exist yet.
    spec
        ``backbone`` (``_target_`` and keyword arguments), ``head`` (keyword arguments of `Classifier`), ``classes``,
        ``image_size``, ``channels`` (3), ``activation`` (softmax), ``augment`` (keyword arguments of `Augmentation`, of
        which the evaluation transform is used), ``tta_views`` (1, or 8: mean over the symmetries of the square). Other
        keys (metrics, fingerprints, config) are kept for the reader. Plain values only.
    state_dict
        Weights of the whole `Classifier`.

    Raises
    ------
    WeightsError
        The weights do not fit the network that `spec` describes.
    AstroclfError
        The folder exists, or the disk is full.
    """
    folder = Path(folder)
    if folder.exists():
        raise AstroclfError(f"The model package {folder} exists already; remove it or write to another folder.")
    spec = {"format": FORMAT, "channels": 3, "head": {}, "activation": "softmax", "tta_views": 1, **spec}
    with atomic_path(folder) as temporary:
        temporary.mkdir()
        torch.save({name: tensor.detach().cpu() for name, tensor in state_dict.items()}, temporary / WEIGHTS_FILE)
        spec["weights_sha256"] = _sha256(temporary / WEIGHTS_FILE)
        (temporary / SPEC_FILE).write_text(
            json.dumps(_without_nan(spec), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        load_package(temporary, device="cpu")
    return folder


def load_package(folder: str | Path, device: str = "auto") -> Predictor:
    """Rebuild the model of a package.

    Parameters
    ----------
    device
        ``auto``: the GPU if there is one.

    Raises
    ------
    WeightsError
        A file is missing or damaged, holds anything but plain values and tensors, or names a class outside astroclf.
    """
    folder = Path(folder)
    spec = read_spec(folder)
    model = _build(folder, spec)
    try:
        model.load_state_dict(_read_weights(folder, spec), strict=True)
    except RuntimeError as error:
        raise WeightsError(
            f"The weights in {folder / WEIGHTS_FILE} do not fit the network that {SPEC_FILE} describes: "
            f"{' '.join(str(error).split())[:400]}"
        ) from error
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return Predictor(model, spec, torch.device(device))


def read_spec(folder: str | Path) -> dict[str, Any]:
    """Read ``model.json``, and check that it has the keys that every model has.

    Raises
    ------
    WeightsError
        There is none, it is damaged, or it has another format than this version of astroclf reads.
    """
    path = Path(folder) / SPEC_FILE
    try:
        spec = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WeightsError(f"{folder} is no model package: {SPEC_FILE} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise WeightsError(f"{path} is damaged (no valid JSON: {error}). Fetch or package the model again.") from error
    missing = [key for key in _REQUIRED_KEYS if not isinstance(spec, dict) or not spec.get(key)]
    if missing:
        raise WeightsError(f"{path} is damaged: it lacks {', '.join(missing)}. Fetch or package the model again.")
    if spec.get("format") != FORMAT:
        raise WeightsError(
            f"{path} has format {spec.get('format')!r}; this version of astroclf reads format {FORMAT}. Use "
            "the version that wrote it."
        )
    return spec


class Predictor:
    """Raw images in, a table of labels out.

    Attributes
    ----------
    model : Classifier
        In evaluation mode.
    spec : dict
        What ``model.json`` says.
    classes : tuple of str
        Class names in label order.
    """

    def __init__(self, model: Classifier, spec: Mapping[str, Any], device: torch.device) -> None:
        self.model = model.eval().to(device)
        self.spec = dict(spec)
        self.classes = tuple(spec["classes"])
        self.image_size = int(spec["image_size"])
        self.channels = int(spec.get("channels", 3))
        self.activation = str(spec.get("activation", "softmax"))
        self.tta_views = int(spec.get("tta_views", 1))
        self.augmentation = Augmentation(**spec["augment"])
        self.device = device

    def predict(self, images: np.ndarray, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Classify N images.

        Parameters
        ----------
        images : (N, H, W, channels) uint8
            Of any size; the longest side is scaled to the model's image size and the rest padded, as in training. RGB
            serves a model of grey images, too.
        params
            ``batch_size`` (default 32).

        Returns
        -------
        pandas.DataFrame
            N rows: ``label`` (class name), ``confidence`` (its probability), ``uncertainty`` (estimated probability
            that the label is wrong), and ``p_<class>`` for each class, summing to 1.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        said = self.classify(images, max(1, int((params or {}).get("batch_size") or DEFAULT_BATCH_SIZE)))
        columns: dict[str, Any] = {
            "label": np.array(self.classes, dtype=object)[said.predicted],
            "confidence": said.confidence,
            "uncertainty": said.uncertainty,
        }
        columns |= {f"p_{name}": said.probabilities[:, index] for index, name in enumerate(self.classes)}
        return pd.DataFrame(columns)

    @torch.inference_mode()
    def classify(self, images: np.ndarray, batch_size: int = DEFAULT_BATCH_SIZE) -> Predictions:
        """Classify N images as `predict` does, whose ids are their numbers.

        Raises
        ------
        DataError
            Another shape or dtype.
        """
        images_NHWC = self._checked(images)
        probabilities, uncertainty = [torch.zeros(0, len(self.classes))], [torch.zeros(0)]
        for images_BHWC in self._batches(images_NHWC, batch_size):
            images_BCHW = self.augmentation(images_BHWC, None)
            estimate = predict_proba(self.model, images_BCHW, self.activation, tta_views=self.tta_views)
            probabilities.append(estimate.probabilities_BC.cpu())
            uncertainty.append(estimate.uncertainty_B.cpu())
        ids = np.arange(len(images_NHWC)).astype(str)
        return Predictions(self.classes, ids, torch.cat(probabilities).numpy(), torch.cat(uncertainty).numpy())

    def _checked(self, images: np.ndarray) -> np.ndarray:
        images = np.asarray(images)
        wanted = (1, 3) if self.channels == 1 else (self.channels,)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] not in wanted or 0 in images.shape[1:]:
            raise DataError(
                f"The model takes raw pixels: uint8 from 0 to 255 in an array (N, height, width, {self.channels}); "
                f"this one is {images.dtype} of shape {images.shape}. "
                "One image needs a leading axis, images[None]; colors, or bands, come last."
            )
        return images

    def _batches(self, images_NHWC: np.ndarray, batch_size: int) -> Iterator[Tensor]:
        for start in range(0, len(images_NHWC), batch_size):
            batch = images_NHWC[start : start + batch_size]
            if batch.shape[3] != self.channels:
                batch = np.stack([to_channels(image, self.channels) for image in batch])
            fitted = np.stack([fit_square(image, self.image_size) for image in batch])
            yield torch.from_numpy(fitted).to(self.device)


def _without_nan(value: Any) -> Any:
    """Replace NaN and infinity (metrics without a value) by null, for JSON knows neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _without_nan(item) for key, item in value.items()}
    return [_without_nan(item) for item in value] if isinstance(value, list | tuple) else value


def _load_pyfunc(data_path: str) -> Predictor:
    """Load a package for ``mlflow.pyfunc.load_model``, which calls the function of this name."""
    return load_package(data_path)


def _build(folder: Path, spec: Mapping[str, Any]) -> Classifier:
    network = NetworkSpec(
        backbone=spec["backbone"] if isinstance(spec["backbone"], Mapping) else {},
        num_classes=len(spec["classes"]),
        image_size=spec["augment"].get("output_size") or spec["image_size"],
        channels=spec.get("channels", 3),
        head=spec.get("head", {}),
    )
    target = str(network.backbone.get("_target_", ""))
    try:
        locate("backbone", target)
    except ConfigError as error:
        raise WeightsError(
            f"{folder / SPEC_FILE} asks for the network {target!r}. Only networks of the installed astroclf are built, "
            "since a model file must not choose what code runs here. If it is one of a newer astroclf, upgrade."
        ) from error
    try:
        Augmentation(**spec["augment"])
        return build_network(network)
    except (ConfigError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{folder / SPEC_FILE} does not describe a network that this version of astroclf can build: "
            f"{str(error).rstrip('.')}. Use the version that wrote it."
        ) from error


def _read_weights(folder: Path, spec: Mapping[str, Any]) -> dict[str, Tensor]:
    path = folder / WEIGHTS_FILE
    try:
        state = load_tensors(path)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read ({error.strerror or error}). Fetch the model again.") from error
    except UnreadableTensors as error:
        raise WeightsError(
            f"{path} was refused: it is damaged, or holds more than tensors (such files can run code when they are "
            "loaded). Nothing of it was run. Get the model again from where you trust it."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{path} does not hold a table of tensors. Get the model again from where you trust it.")
    if spec.get("weights_sha256") not in (None, _sha256(path)):
        raise WeightsError(f"{path} is not the file that {SPEC_FILE} belongs to (its SHA-256 differs). Get both again.")
    return state


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
