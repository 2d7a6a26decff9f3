"""ResNet-18 (He et al. 2016, arXiv:1512.03385) as torchvision defines it, without its classifier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from astroclf.errors import ConfigError
from astroclf.models.blocks import run_resnet
from astroclf.models.space_to_depth import ImageConv2d
from astroclf.models.weights import NO_PRETRAINED, fetch_weights, load_into, read_state
from astroclf.util.download import RemoteFile
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    from torchvision import models as torchvision_models
else:
    torchvision_models = lazy_import("torchvision.models")  # 4 s to import

IMAGENET = RemoteFile(  # torchvision's ResNet18_Weights.IMAGENET1K_V1
    name="resnet18-f37072fd.pth",
    urls=("https://download.pytorch.org/models/resnet18-f37072fd.pth",),
    sha256="f37072fd47e89c5e827621c5baffa7500819f7896bbacec160b1a16c560e07ec",
    remedy=f"{NO_PRETRAINED}backbone.weights=/path/to/resnet18-f37072fd.pth.",
)


class ResNet18(nn.Module):
    """Four stages of two residual blocks and a global average pool: 512 features an image, of any size.

    Its parameters have torchvision's names, so that torchvision's files load.

    Parameters
    ----------
    image_size : int
        Side of the images in pixels; the network itself takes any.
    channels : int
        Channels of an image.
    weights : str or None
        ``imagenet``: torchvision's weights, fetched once and hash-checked. A path: a torchvision state_dict, or an
        astroclf checkpoint. None: Kaiming initialisation.
    grad_checkpointing : bool
        Compute each block's activations again in the backward pass: less memory, about a third more time.
    stem : {"imagenet", "small"}
        ``imagenet``: 7x7 convolution with stride 2, then max-pooling: a quarter of the size enters the first stage.
        ``small``: 3x3 convolution with stride 1: the full size enters, at 16 times the multiply-adds.

    Raises
    ------
    WeightsError
        The weights cannot be fetched or read, or do not fit.
    ConfigError
        An unknown stem, or ``small`` with ImageNet weights, which have none.
    """

    num_features = 512

    def __init__(
        self,
        image_size: int,
        stem: str,
        channels: int = 3,
        weights: str | None = None,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if stem not in ("imagenet", "small"):
            raise ConfigError(f"backbone.stem cannot be {stem!r}; choose imagenet or small.")
        if weights == "imagenet" and stem == "small":
            raise ConfigError(
                "backbone.stem=small has no ImageNet weights: its first convolution is 3x3 instead of 7x7. Choose "
                "backbone.stem=imagenet, or backbone.weights=null."
            )
        state = None
        if weights is not None:
            state = read_state(fetch_weights(IMAGENET) if weights == "imagenet" else weights)
            state = {name: value for name, value in state.items() if not name.startswith("fc.")}
        self.grad_checkpointing = grad_checkpointing
        network = torchvision_models.resnet18(weights=None)  # Kaiming initialisation, fan-out, is torchvision's own
        self.conv1, self.maxpool = _stem(stem, channels)
        self.bn1, self.relu = network.bn1, network.relu
        self.layer1, self.layer2 = network.layer1, network.layer2
        self.layer3, self.layer4 = network.layer3, network.layer4
        if state is not None:
            load_into(self, state, "conv1.weight", weights or "")

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Compute features (B, 512), float32 under autocast too."""
        stem = self.conv1, self.bn1, self.relu, self.maxpool
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        x = run_resnet(stem, stages, images_BCHW, self.grad_checkpointing)
        return x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32))  # half precision sums lose digits

    def stages(self) -> list[list[str]]:
        """Return the stem and the four stages, by the beginnings of the names of their parameters."""
        return [["conv1", "bn1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]


def _stem(stem: str, channels: int) -> tuple[nn.Conv2d, nn.Module]:
    small = stem == "small"
    kernel, stride = (3, 1) if small else (7, 2)
    conv = ImageConv2d(channels, 64, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv, nn.Identity() if small else nn.MaxPool2d(3, stride=2, padding=1)
