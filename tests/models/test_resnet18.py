from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from astroclf.errors import ConfigError, WeightsError
from astroclf.models import resnet18
from astroclf.models.resnet18 import ResNet18


def test_the_network_is_torchvisions(tmp_path: Path) -> None:
    """Loaded from torchvision's own file, it gives torchvision's features (before its last layer)."""
    theirs = torchvision.models.resnet18().eval()
    torch.save(theirs.state_dict(), tmp_path / "resnet18.pth")
    mine = ResNet18(image_size=64, weights=str(tmp_path / "resnet18.pth"), stem="imagenet").eval()
    theirs.fc = torch.nn.Identity()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(mine(images), theirs(images))


@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_with_or_without_computing_again_its_gradients_are_torchvisions(stem: str) -> None:
    """The stem pools before ReLU, and is computed again in two parts: neither changes a bit."""
    theirs = torchvision.models.resnet18().train()
    theirs.fc = torch.nn.Identity()
    mine = ResNet18(image_size=32, stem=stem).train()
    theirs.conv1, theirs.maxpool = copy.deepcopy(mine.conv1), copy.deepcopy(mine.maxpool)
    theirs.load_state_dict(mine.state_dict())
    again = copy.deepcopy(mine)
    again.grad_checkpointing = True
    images = torch.randn(4, 3, 32, 32)
    for network in (theirs, mine, again):
        network(images).square().sum().backward()
    for name, expected in theirs.named_parameters():
        assert torch.equal(mine.get_parameter(name).grad, again.get_parameter(name).grad), name
        torch.testing.assert_close(mine.get_parameter(name).grad, expected.grad)
    for name, expected in mine.state_dict().items():
        assert torch.equal(again.state_dict()[name], expected), name


def test_the_pinned_file_is_torchvisions() -> None:
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    assert resnet18.IMAGENET.urls == (weights.url,)
    assert resnet18.IMAGENET.sha256.startswith(weights.url.removesuffix(".pth").rpartition("-")[2])


def test_imagenet_weights_that_cannot_be_fetched_name_both_ways_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    url = "http://127.0.0.1:9/models/resnet18-f37072fd.pth"
    monkeypatch.setattr(resnet18, "IMAGENET", replace(resnet18.IMAGENET, urls=(url,)))
    with pytest.raises(WeightsError) as raised:
        ResNet18(image_size=64, weights="imagenet", stem="imagenet")
    message = str(raised.value)
    assert url in message
    assert "refused" in message
    assert "backbone.weights=null" in message
    assert "backbone.weights=/path/to/resnet18-f37072fd.pth" in message
    assert "\n" not in message
    assert not list(tmp_path.rglob("*.pth"))


def test_the_stem_decides_the_size_of_the_last_map() -> None:
    with torch.no_grad():
        for image_size, stem, side in (
            (32, "small", 4),
            (33, "imagenet", 2),
            (64, "imagenet", 2),
            (128, "imagenet", 4),
        ):
            maps: list[torch.Size] = []
            network = ResNet18(image_size=image_size, stem=stem).eval()
            network.layer4.register_forward_hook(lambda _module, _in, out, maps=maps: maps.append(out.shape))
            network(torch.randn(1, 3, image_size, image_size))
            assert maps == [(1, 512, side, side)]


def test_weights_of_another_stem_are_refused(tmp_path: Path) -> None:
    torch.save(ResNet18(32, stem="small").state_dict(), tmp_path / "trained.pth")
    assert ResNet18(32, stem="small", weights=str(tmp_path / "trained.pth")).conv1.kernel_size == (3, 3)
    with pytest.raises(WeightsError, match=r"conv1\.weight"):
        ResNet18(32, weights=str(tmp_path / "trained.pth"), stem="imagenet")


def test_a_stem_that_cannot_be_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"backbone\.stem cannot be 'large'"):
        ResNet18(64, stem="large")
    with pytest.raises(ConfigError, match=r"backbone\.stem=small has no ImageNet weights"):
        ResNet18(32, weights="imagenet", stem="small")
