"""The model in a training's checkpoint: what people have of a run that was killed, and of each that goes on."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from astroclf.engine.checkpoint import CHECKPOINTS, weights_of
from astroclf.errors import ConfigError, WeightsError
from astroclf.inference.predictor import Predictor
from astroclf.inference.seen import SPLITS_SEEN, SeenImages
from astroclf.inference.spec import SPEC_FILE, ModelSpec
from astroclf.models.weights import CHECKPOINT_FORMAT, UnreadableTensors, load_tensors, other_format
from astroclf.registry.package import RUN_FOLDER_PACKAGE, load_single
from astroclf.registry.weights import build_model, chosen_device, sha256
from astroclf.util.logs import log


def load_checkpoint_model(path: Path, device: str = "auto", precision: str = "auto") -> Predictor:
    """Rebuild the model of a checkpoint, wherever the file lies: the moving average of the weights where there is one.

    Its probabilities are the network's own, for calibration and prediction sets are fitted when a training ends; unless
    its weights are those of the package beside it, which is then the model.

    Raises
    ------
    WeightsError
        It is no checkpoint, is damaged, or does not say what its weights are of.
    """
    content = _read(path)
    state = weights_of(content)
    if (packaged := _package_beside(path, state, device, precision)) is not None:
        log.info("%s has the weights of the package beside it: its calibration and prediction sets are taken.", path)
        return packaged
    try:
        spec = ModelSpec.from_plain({**content["description"]["spec"], "weights_sha256": sha256(path)})
        seen = SeenImages(**{name: content["description"]["seen"][name].numpy().view("uint64") for name in SPLITS_SEEN})
    except (ConfigError, KeyError, TypeError, AttributeError, ValueError) as error:
        raise WeightsError(f"{path} is damaged: what it says of its model cannot be read ({error}).") from error
    model = build_model(spec, state, described_in=path, weights_in=path)
    log.info(
        "%s is a checkpoint, of step %s: its probabilities are not calibrated, and it gives no prediction sets.",
        path, content["train_state"]["step"],
    )  # fmt: skip
    return Predictor(model, spec, chosen_device(device), seen, precision)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = load_tensors(path)
    except (UnreadableTensors, OSError) as error:
        raise WeightsError(
            f"{path} is neither a checkpoint of a training nor a zip of a model, or it is damaged ({error}). Name "
            "another file beside it, or a run folder."
        ) from error
    if not isinstance(content, Mapping) or not {"format", "train_state", "model"} <= set(content):
        raise WeightsError(
            f"{path} is no checkpoint of a training: it does not say what its numbers are the weights of. Name the "
            f"folder of the package or run that it comes from, which has a {SPEC_FILE}. A training can begin with such "
            "a file: backbone.weights=…"
        )
    if content["format"] != CHECKPOINT_FORMAT:
        raise WeightsError(other_format(path, content["format"]))
    if not content.get("description"):
        raise WeightsError(
            f"{path} was written by an earlier astroclf, whose checkpoints do not say what model they are of. Name its "
            f"run folder, which has the model once the training has ended; `astroclf train resume={path}` ends it."
        )
    return content


def _package_beside(path: Path, state: Mapping[str, Tensor], device: str, precision: str) -> Predictor | None:
    """Return the model that the checkpoint's run has packaged, if it has the same weights."""
    package = path.absolute().parent.parent / RUN_FOLDER_PACKAGE
    if path.absolute().parent.name != CHECKPOINTS or not (package / SPEC_FILE).is_file():
        return None
    with suppress(WeightsError):  # the checkpoint is whole, whatever became of the package
        predictor = load_single(package, device, precision)
        packaged = predictor.model.state_dict()
        if packaged.keys() == state.keys() and all(torch.equal(packaged[name].cpu(), state[name]) for name in state):
            return predictor
    return None
