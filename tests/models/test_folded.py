import pytest
import torch
from torch import Tensor, nn

from astroclf.models.classifier import Classifier
from astroclf.models.folded import for_inference
from astroclf.models.precision import Precision
from astroclf.models.resnet18 import ResNet18

FP32, BF16 = (Precision(name, torch.device("cpu")) for name in ("fp32", "bf16"))


def settled(network: nn.Module) -> nn.Module:
    """Give BatchNorm statistics and factors that change what it computes."""
    torch.manual_seed(0)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values, low in ((layer.running_mean, -0.5), (layer.running_var, 0.5), (layer.weight.data, 0.5)):
                values.uniform_(low, low + 1)
            layer.bias.data.uniform_(-0.5, 0.5)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    return settled(Classifier(ResNet18(image_size=32, stem="small"), 3, uncertainty=True))


@pytest.fixture(scope="module")
def images_BCHW() -> Tensor:
    return torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
def test_every_batchnorm_of_a_resnet_is_folded_and_it_answers_as_before(network, images_BCHW):
    exact = network(images_BCHW)
    folded = for_inference(network, FP32)
    found = folded(images_BCHW)
    assert (norms(network), norms(folded)) == (20, 0), "and the network itself stays as it is"
    torch.testing.assert_close(found.logits_BC, exact.logits_BC, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.uncertainty_B, exact.uncertainty_B, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_in_half_precision_it_is_as_near_to_the_exact_answers_as_autocast_is(network, images_BCHW):
    exact = network(images_BCHW).logits_BC
    with BF16.autocast():
        rounded = network(images_BCHW).logits_BC
        folded = for_inference(network, BF16)
        found = folded(images_BCHW).logits_BC
    assert 0 < (found - exact).abs().max() < 2 * (rounded - exact).abs().max()
    assert {layer.weight.dtype for layer in folded.modules() if isinstance(layer, nn.Conv2d)} == {torch.bfloat16}
    assert {layer.weight.dtype for layer in network.modules() if isinstance(layer, nn.Conv2d)} == {torch.float32}


class Special(nn.Module):
    """Layers that look as if they could be folded, and cannot."""

    num_features = 4

    def __init__(self, decides: bool = False) -> None:
        super().__init__()
        self.shared, self.other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 4, 3, padding=1)
        self.norm, self.last = nn.BatchNorm2d(3), nn.BatchNorm2d(4)
        self.decides = decides

    def forward(self, images_BCHW: Tensor) -> Tensor:
        x = self.norm(self.shared(self.norm(self.shared(images_BCHW))))  # both run twice
        x = self.other(x)
        if self.decides and x.sum() > 0:
            x = x + 1
        return (x + self.last(x)).mean(dim=(2, 3))  # others, too, take what the convolution gives


@pytest.mark.parametrize("decides", [False, True])
@torch.inference_mode()
def test_what_cannot_be_folded_stays(decides, images_BCHW):
    network = settled(Classifier(Special(decides), 2))
    folded = for_inference(network, FP32)
    assert norms(folded) == 2
    torch.testing.assert_close(folded(images_BCHW).logits_BC, network(images_BCHW).logits_BC)
