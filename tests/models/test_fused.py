from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.models.classifier import Classifier
from astroclf.models.custom6conv import Custom6Conv
from astroclf.models.folded import for_inference
from astroclf.models.fused import ConvReLU, fused
from astroclf.models.precision import Precision
from astroclf.models.resnet18 import ResNet18
from astroclf.models.resnet18_d4 import ResNet18D4
from tests.models.test_folded import settled
from tests.on_gpu import DEVICES, gpu

CPU = Precision("bf16", torch.device("cpu"))
NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # and how many of its convolutions have a ReLU after them
    "resnet18": (lambda: ResNet18(32, "imagenet"), 17),
    "resnet18, small": (lambda: ResNet18(32, "small"), 17),
    "resnet18_d4": (lambda: ResNet18D4(32, "imagenet", 1.0), 17),
    "custom6conv": (lambda: Custom6Conv(32), 6),
}


def in_one(network: nn.Module) -> list[ConvReLU]:
    return [layer for layer in network.modules() if isinstance(layer, ConvReLU)]


@pytest.mark.parametrize("name", NETWORKS)
@gpu
@torch.inference_mode()
def test_a_network_on_a_gpu_answers_with_convolutions_that_compute_what_follows(name: str) -> None:
    build, count = NETWORKS[name]
    torch.manual_seed(0)
    network = settled(Classifier(build(), 3)).cuda()
    images = torch.randn(6, 3, 32, 32, device="cuda")
    exact = network(images).logits_BC
    for each in ("bf16", "fp16"):
        precision = Precision(each, torch.device("cuda"))
        answering = for_inference(network, precision)
        with precision.autocast():
            rounded, found = network(images).logits_BC, answering(images).logits_BC
        assert len(in_one(answering)) == count
        assert all(layer._in_one for layer in in_one(answering)), "cuDNN has a kernel for every one"
        assert (found - exact).abs().max() < 2 * (rounded - exact).abs().max() + 1e-3


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_without_such_kernels_it_answers_as_before(name: str) -> None:
    build, count = NETWORKS[name]
    torch.manual_seed(0)
    network = for_inference(settled(Classifier(build(), 3)), CPU).get_submodule("backbone")
    for layer_name, layer in list(network.named_modules()):
        if hasattr(layer, "plain"):
            network.set_submodule(layer_name, layer.plain())
    images = torch.randn(2, 3, 32, 32)
    made = fused(network, CPU)
    assert len(in_one(made)) == count
    with CPU.autocast():
        torch.testing.assert_close(made(images), network(images), rtol=0.02, atol=0.01)


class Shared(nn.Module):
    """A convolution that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(F.relu(self.conv(x))))


class One(nn.Module):
    """A convolution whose maps go where they are sent."""

    def __init__(self, then: Callable[[Tensor, Tensor], Tensor], **options: object) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1, **options)  # type: ignore[arg-type]
        self.then = then

    def forward(self, x: Tensor) -> Tensor:
        return self.then(self.conv(x), x)


class Deciding(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x)) if x.sum() > -1e9 else x


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    ("network", "count"),
    [
        (One(lambda maps, x: F.relu(maps)), 1),
        (One(lambda maps, x: F.relu(maps + x)), 1),
        (One(lambda maps, x: F.relu(x + maps)), 1),
        (One(lambda maps, x: F.relu(torch.add(maps, x))), 1),
        (One(lambda maps, x: F.relu(maps + x[:, :1])), 1),  # what is added has another shape
        (One(lambda maps, x: F.relu(maps), stride=2), 1),
        (One(lambda maps, x: F.relu(torch.add(maps, x, alpha=2))), 0),
        (One(lambda maps, x: F.relu(maps + maps)), 0),
        (One(lambda maps, x: F.relu(maps + 1)), 0),
        (One(lambda maps, x: F.relu(maps) + maps), 0),
        (One(lambda maps, x: F.relu(input=maps)), 1),
        (One(lambda maps, x: torch.relu(input=maps)), 0),
        (One(lambda maps, x: F.relu(maps), groups=3), 0),
        (One(lambda maps, x: F.relu(maps), dilation=2), 0),
        (One(lambda maps, x: F.relu(maps), padding_mode="reflect"), 0),
        (One(lambda maps, x: torch.sigmoid(maps)), 0),
        (Shared(), 0),
        (Deciding(), 0),
    ],
)
@torch.inference_mode()
def test_it_takes_what_it_can_compute_and_nothing_else(network: nn.Module, count: int, device: str) -> None:
    network = network.to(device, torch.bfloat16).eval()
    images = torch.randn(2, 3, 16, 16, device=device, generator=torch.Generator(device).manual_seed(0)).bfloat16()
    images = images.contiguous(memory_format=torch.channels_last)
    made = fused(network, Precision("bf16", torch.device(device)))
    assert len(in_one(made)) == count
    torch.testing.assert_close(made(images), network(images), rtol=0.02, atol=0.02)


@torch.inference_mode()
def test_in_fp32_nothing_changes() -> None:
    network = One(lambda maps, x: F.relu(maps)).eval()
    assert fused(network, Precision("fp32", torch.device("cpu"))) is network
