from __future__ import annotations

import pytest
import torch

from astroclf.errors import ConfigError
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.network import NetworkSpec, build_network

CUSTOM = {"_target_": "astroclf.models.custom6conv.Custom6Conv", "weights": None}


def test_a_network_is_what_its_description_says() -> None:
    spec = NetworkSpec(CUSTOM | {"dropout": 0.1}, 3, image_size=16, channels=5, head={"refinement": True, "hidden": 7})
    network = build_network(spec, output_bias=-0.5)
    assert isinstance(network.backbone, Custom6Conv)
    logits_BC, uncertainty_B, features_BF = network(torch.zeros(2, 5, 16, 16))
    assert logits_BC.shape == (2, 3)
    assert uncertainty_B is None
    assert features_BF.shape == (2, network.backbone.num_features)
    assert network.scores.in_features == 7
    assert network.scores.bias.unique().item() == -0.5


def test_a_description_never_fetches_pretrained_weights() -> None:
    build_network(NetworkSpec(CUSTOM | {"weights": "/no/such/file"}, 3, image_size=16))


def test_a_backbone_that_stands_already_is_taken() -> None:
    backbone = Custom6Conv(16)
    assert build_network(NetworkSpec(CUSTOM, 3, image_size=16), backbone=backbone).backbone is backbone


@pytest.mark.parametrize(
    "target", ["os.system", "astroclf.models.precision.Precision", "astroclf.models.weights.Any", ""]
)
def test_only_networks_of_ours_are_built(target: str) -> None:
    with pytest.raises(ConfigError, match=r"backbone\._target_"):
        build_network(NetworkSpec({"_target_": target}, 3, image_size=16))
