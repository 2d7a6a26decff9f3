"""What every backbone promises."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from astroclf.errors import WeightsError
from astroclf.models.classifier import Classifier
from astroclf.models.weights import CHECKPOINT_FORMAT


@pytest.mark.parametrize(("image_size", "channels"), [(32, 1), (45, 3), (64, 5)])
def test_features_of_any_size_and_channels(
    new_backbone: Callable[..., nn.Module], image_size: int, channels: int
) -> None:
    if image_size % 32 and new_backbone.func.__name__ == "ResNet18D4":  # refused, see test_resnet18_d4
        image_size = 96
    backbone = new_backbone(image_size=image_size, channels=channels).eval()
    with torch.no_grad():
        features = backbone(torch.randn(2, channels, image_size, image_size))
    assert features.shape == (2, backbone.num_features)
    assert torch.isfinite(features).all()
    assert not torch.equal(features[0], features[1])


def test_the_same_seed_gives_the_same_network(new_backbone: Callable[..., nn.Module]) -> None:
    def network(seed: int) -> dict[str, Tensor]:
        torch.manual_seed(seed)
        return new_backbone(image_size=32).state_dict()

    first, again, other = network(7), network(7), network(8)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_kaiming_initialisation_keeps_the_signal_alive(new_backbone: Callable[..., nn.Module]) -> None:
    """Neither vanishing nor exploding: what a network without BatchNorm needs most."""
    backbone = new_backbone(image_size=64).eval()
    with torch.no_grad():
        features = backbone(torch.randn(4, 3, 64, 64))
    assert 0.1 < features.std().item() < 30


def test_checkpointing_changes_memory_and_nothing_else(new_backbone: Callable[..., nn.Module]) -> None:
    """Same features, same gradients, same BatchNorm statistics, to the last bit."""
    kept = new_backbone(image_size=32).train()
    recomputed = copy.deepcopy(kept)
    recomputed.grad_checkpointing = True
    images = torch.randn(4, 3, 32, 32)
    features = []
    for network in (kept, recomputed):
        torch.manual_seed(1)
        features.append(network(images))
        features[-1].square().mean().backward()
    assert torch.equal(features[0], features[1])
    for (name, mine), theirs in zip(kept.named_parameters(), recomputed.parameters(), strict=True):
        assert mine.grad is not None
        assert torch.equal(mine.grad, theirs.grad), name
    for (name, mine), theirs in zip(kept.state_dict().items(), recomputed.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_checkpointing_keeps_fewer_activations(new_backbone: Callable[..., nn.Module]) -> None:
    def saved_bytes(grad_checkpointing: bool) -> int:
        network = new_backbone(image_size=64, grad_checkpointing=grad_checkpointing).train()
        own = {parameter.data_ptr() for parameter in network.parameters()}
        sizes: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            if tensor.data_ptr() not in own:
                sizes[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            features = network(torch.randn(2, 3, 64, 64))
        features.sum().backward()
        return sum(sizes.values())

    assert saved_bytes(True) < 0.6 * saved_bytes(False)


def test_bfloat16_autocast_and_channels_last_agree_with_float32(new_backbone: Callable[..., nn.Module]) -> None:
    backbone = new_backbone(image_size=32).eval()
    images = torch.randn(4, 3, 32, 32)
    with torch.no_grad():
        expected = backbone(images)
        backbone = backbone.to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            features = backbone(images.contiguous(memory_format=torch.channels_last))
    assert (features.float() - expected).norm() < 0.05 * expected.norm()


def test_weights_from_a_file_are_the_saved_ones(new_backbone: Callable[..., nn.Module], tmp_path: Path) -> None:
    trained = new_backbone(image_size=32)
    torch.save(trained.state_dict(), tmp_path / "trained.pth")
    loaded = new_backbone(image_size=32, weights=str(tmp_path / "trained.pth"))
    for (name, mine), theirs in zip(trained.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert torch.equal(mine, theirs), name


def test_weights_from_a_training_checkpoint(new_backbone: Callable[..., nn.Module], tmp_path: Path) -> None:
    """The averaged weights where there are some, since those were validated; the heads stay behind."""
    raw, average = (Classifier(new_backbone(image_size=32), 3, uncertainty=True) for _ in range(2))
    state = {"format": CHECKPOINT_FORMAT, "model": raw.state_dict(), "ema": None, "epoch": 3}
    torch.save(state, tmp_path / "raw.pt")
    state["ema"] = {"updates": 5, "model": average.state_dict()}
    torch.save(state, tmp_path / "averaged.pt")
    for file, source in (("raw.pt", raw), ("averaged.pt", average)):
        loaded = new_backbone(image_size=32, weights=str(tmp_path / file))
        for name, value in source.backbone.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value), (file, name)


def test_weights_of_a_color_network_serve_other_channels(
    new_backbone: Callable[..., nn.Module], tmp_path: Path
) -> None:
    """A grey image, repeated over any number of channels, gives the features of the grey color image."""
    color = new_backbone(image_size=32).eval()
    torch.save(color.state_dict(), tmp_path / "color.pth")
    grey = torch.randn(2, 1, 32, 32)
    for channels in (1, 2, 5, 12):
        adapted = new_backbone(image_size=32, channels=channels, weights=str(tmp_path / "color.pth")).eval()
        with torch.no_grad():
            torch.testing.assert_close(
                adapted(grey.repeat(1, channels, 1, 1)), color(grey.repeat(1, 3, 1, 1)), rtol=1e-4, atol=1e-4
            )


def test_weights_of_any_bands_serve_any_others_and_a_network_of_as_many_keeps_each(
    new_backbone: Callable[..., nn.Module], tmp_path: Path
) -> None:
    """From a training checkpoint with five bands: exact for five, averaged for color."""
    trained = Classifier(new_backbone(image_size=32, channels=5), 3).eval()
    torch.save({"format": CHECKPOINT_FORMAT, "model": trained.state_dict(), "ema": None}, tmp_path / "five.pt")
    images = torch.randn(2, 5, 32, 32)
    same = new_backbone(image_size=32, channels=5, weights=str(tmp_path / "five.pt")).eval()
    color = new_backbone(image_size=32, channels=3, weights=str(tmp_path / "five.pt")).eval()
    with torch.no_grad():
        assert torch.equal(same(images), trained.backbone(images))
        grey = images[:, :1]
        torch.testing.assert_close(color(grey.repeat(1, 3, 1, 1)), same(grey.repeat(1, 5, 1, 1)), rtol=1e-4, atol=1e-4)


def test_weights_of_another_architecture_are_refused(new_backbone: Callable[..., nn.Module], tmp_path: Path) -> None:
    torch.save({"layers.0.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    name = type(new_backbone(image_size=32)).__name__
    with pytest.raises(WeightsError, match=rf"other\.pth do not fit {name}: it lacks .*null"):
        new_backbone(image_size=32, weights=str(tmp_path / "other.pth"))
