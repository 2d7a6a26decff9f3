"""The file of a pretrained backbone: its weights, which pixels they expect, and which images they have seen."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from astroclf.errors import WeightsError
from astroclf.inference.seen import SeenImages
from astroclf.models.backbone import DataConfig
from astroclf.util.atomic import atomic_path
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import safetensors
    from safetensors import torch as safetensors_torch
else:
    safetensors = lazy_import("safetensors")
    safetensors_torch = lazy_import("safetensors.torch")

BACKBONE_FILE = "backbone.safetensors"
_ABOUT, _SEEN = "astroclf_pretraining", "astroclf_seen"  # entries of the file's metadata


@dataclass(frozen=True)
class Pretraining:
    """What a backbone was pretrained on.

    Attributes
    ----------
    dataset
        What the data set is called.
    data_config
        How its images were prepared.
    seen
        Digests of the images that it learned from, none of them for validation.
    """

    dataset: str
    data_config: DataConfig
    seen: SeenImages


def write_backbone(path: Path, state: Mapping[str, Tensor], about: Pretraining) -> None:
    """Write the weights of a backbone with what they were pretrained on, atomically.

    Raises
    ------
    DiskError
        The disk takes it not.
    """
    plain = {"dataset": about.dataset, **vars(about.data_config)}
    digests = base64.b64encode(about.seen.train.astype("<u8").tobytes()).decode()
    tensors = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(safetensors_torch.save(tensors, metadata={_ABOUT: json.dumps(plain), _SEEN: digests}))


def read_pretraining(path: Path) -> Pretraining | None:
    """Return what the backbone in a file was pretrained on; None where the file is none of `write_backbone`.

    Raises
    ------
    WeightsError
        What it says of that is damaged.
    """
    if path.suffix != ".safetensors":
        return None
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
    except (safetensors.SafetensorError, OSError):  # whoever reads the weights says what is wrong
        return None
    if _ABOUT not in metadata:
        return None
    try:
        plain = json.loads(metadata[_ABOUT])
        mean, std = (tuple(map(float, plain[name])) for name in ("mean", "std"))
        digests = np.frombuffer(base64.b64decode(metadata[_SEEN], validate=True), "<u8").astype(np.uint64)
        return Pretraining(
            str(plain["dataset"]),
            DataConfig(mean, std, int(plain["image_size"])),
            SeenImages(digests, np.zeros(0, np.uint64)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise WeightsError(
            f"What {path} says of its pretraining is damaged ({error!r}). Pretrain or fetch it again."
        ) from error
