"""Networks of timm as backbones: of all families, from a name to a package that loads without a network connection."""

from __future__ import annotations

import copy
import socket
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from astroclf.engine.parameter_groups import parameter_groups
from astroclf.inference.attribution import attribute
from astroclf.models.backbone import stages_of
from astroclf.models.classifier import Classifier
from astroclf.models.timm_backbone import Timm
from astroclf.registry.load import load
from astroclf.registry.package import write_package
from tests.data.augment.recipes import recipe_values

QUICK = [("test_resnet.r160_in1k", 32), ("test_vit", 32), ("test_convnext", 32)]
OF_ALL_FAMILIES = [
    ("cait_xxs24_224", 32), ("convit_tiny", 32), ("convmixer_768_32", 32), ("convnextv2_atto.fcmae_ft_in1k", 32),
    ("crossvit_tiny_240", 240), ("cspresnet50", 32), ("deit_tiny_distilled_patch16_224", 32), ("densenet121", 32),
    ("dla46_c", 32), ("edgenext_xx_small", 64), ("efficientformerv2_s0", 224), ("efficientvit_b0", 32),
    ("eva02_tiny_patch14_224", 56), ("fastvit_t8", 64), ("ghostnet_050", 32), ("hgnetv2_b0", 32),
    ("hrnet_w18_small", 64), ("lcnet_035", 32), ("levit_128s", 224), ("mobilenetv4_conv_small_035", 32),
    ("mobileone_s0", 32), ("mobilevitv2_050", 64), ("pit_ti_224", 224), ("poolformerv2_s12", 32), ("pvt_v2_b0", 32),
    ("regnety_002", 32), ("repghostnet_050", 32), ("repvit_m0_9", 32), ("rexnet_100", 32), ("semnasnet_075", 32),
    ("shvit_s1", 224), ("starnet_s050", 32), ("swin_s3_tiny_224", 64), ("test_byobnet", 32), ("test_coatnet", 64),
    ("test_mambaout", 64), ("test_maxvit", 64), ("test_nfnet", 64), ("test_vit_relpos", 32), ("tf_efficientnet_b0", 32),
    ("tiny_vit_5m_224", 64), ("vit_small_patch14_dinov2.lvd142m", 56), ("xcit_nano_12_p16_224", 64),
]  # fmt: skip


def steps(network: Classifier, optimizer: torch.optim.Optimizer, numbers: list[int], image_size: int) -> list[float]:
    """Train on the batches of these numbers; return the losses."""
    losses = []
    network.train()
    for number in numbers:
        torch.manual_seed(number)
        loss = F.cross_entropy(network(torch.randn(2, 3, image_size, image_size)).logits_BC, torch.tensor([0, 2]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(
    ("name", "image_size"), [*QUICK, *(pytest.param(*each, marks=pytest.mark.slow) for each in OF_ALL_FAMILIES)]
)
def test_it_trains_goes_on_to_the_same_bits_and_its_package_answers_as_it_does(
    name: str, image_size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Classifier(Timm(image_size, name), 3)
    optimizer = torch.optim.AdamW(parameter_groups(network, 0.05, layer_decay=0.8), lr=1e-4)
    steps(network, optimizer, [0], image_size)
    saved = copy.deepcopy((network.state_dict(), optimizer.state_dict()))
    never_stopped = steps(network, optimizer, [1], image_size)
    again = Classifier(Timm(image_size, name), 3)
    optimizer = torch.optim.AdamW(parameter_groups(again, 0.05, layer_decay=0.8), lr=1e-4)
    again.load_state_dict(saved[0])
    optimizer.load_state_dict(saved[1])
    assert steps(again, optimizer, [1], image_size) == never_stopped
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(again.parameters(), network.parameters(), strict=True))

    monkeypatch.setattr(socket, "socket", None)  # nothing is asked of a network from here on
    images = torch.randint(0, 256, (2, image_size, image_size, 3), dtype=torch.uint8).numpy()
    spec = {
        "backbone": {"_target_": "astroclf.models.timm_backbone.Timm", "name": name},
        "classes": ["a", "b", "c"],
        "image_size": image_size,
        "augment": recipe_values(mean=[0.5], std=[0.5]),
    }
    predictor = load(str(write_package(tmp_path / "model", spec, network.state_dict())), precision="fp32")
    said = predictor.classify(images)
    with torch.no_grad():
        expected = network.eval()(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).logits_BC.softmax(dim=1)
    torch.testing.assert_close(torch.from_numpy(said.probabilities), expected, rtol=1e-3, atol=1e-4)
    found = attribute(predictor, images, said.probabilities.argmax(axis=1))
    assert found.maps_NHW.shape == (2, image_size, image_size)
    assert len(stages_of(network.backbone)) > 1
