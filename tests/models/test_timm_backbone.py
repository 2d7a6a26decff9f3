"""Networks of timm as backbones: of all families, from a name to a package that loads without a network connection."""

from __future__ import annotations

import copy
import socket
from pathlib import Path

import pytest
import timm
import torch
from torch.nn import functional as F

from astroclf.engine.parameter_groups import parameter_groups
from astroclf.errors import ConfigError, WeightsError
from astroclf.inference.attribution import attribute
from astroclf.models import hub
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


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": "convnext_nanno"}, r"no network of timm .* Did you mean convnext_nano"),
        (
            {"name": "convnext_nano.in13k"},
            r"knows no weights in13k of convnext_nano\. There are .*convnext_nano\.in12k",
        ),
        ({"name": "hf-hub:somebody/anything"}, "no network of timm"),  # what a package names is not fetched
        (
            {"name": "test_vit", "image_size": 50},
            r"patches are 16 px large\. Set dataset\.image_size to 32 or 64 or 160",
        ),
        ({"name": "vgg11", "drop_path": 0.1}, "vgg11 has no stochastic depth"),
    ],
    ids=str,
)
def test_what_timm_has_not_is_answered_with_what_it_has(options: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Timm(**{"image_size": 32, **options})


def test_a_hub_that_does_not_answer_ends_in_one_paragraph_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda address: False)
    monkeypatch.setattr(socket, "socket", None)
    with pytest.raises(
        WeightsError, match=r"fetch https://.*/timm/test_vit\.r160_in1k/resolve/main/model\.safetensors"
    ):
        Timm(32, "test_vit.r160_in1k", weights="imagenet")
    with pytest.raises(WeightsError, match=r"somebody/anything cannot be had from the hub"):
        Timm(32, "test_vit", weights="hf_hub:somebody/anything")


def test_a_file_of_timm_with_its_classifier_serves_images_of_another_size(tmp_path: Path) -> None:
    """Positions of a transformer are resized as timm does; nothing else is changed, and nothing left random."""
    trained = timm.create_model("test_vit", num_classes=5)
    torch.save(trained.state_dict(), tmp_path / "trained.pth")
    loaded = Timm(64, "test_vit", weights=str(tmp_path / "trained.pth")).network
    resized = timm.layers.resample_abs_pos_embed(trained.pos_embed, [4, 4], num_prefix_tokens=trained.num_prefix_tokens)
    expected = {**trained.state_dict(), "pos_embed": resized}
    for name, value in loaded.state_dict().items():
        assert torch.equal(value, expected[name]), name
