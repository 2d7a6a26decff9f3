"""A plain CNN of six convolutions, for galaxies of 256x256 pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.errors import WeightsError
from astroclf.models.blocks import kaiming_init, run_stage
from astroclf.models.weights import load_into, read_state

WIDTHS = (32, 64, 128, 256, 512, 1024)


class Custom6Conv(nn.Module):
    """Six blocks of convolution 3x3, ReLU and max-pooling, then two linear layers: 256 features an image.

    There is no BatchNorm. At 256 pixels the last pool leaves 1024 maps of 4x4; with ten classes on top the network
    has 14,811,210 parameters.

    Parameters
    ----------
    image_size : int
        Side of the images in pixels; the first linear layer is as wide as it asks.
    channels : int
        Channels of an image.
    weights : str or None
        Path of a state_dict or an astroclf checkpoint of this network, trained at the same image size. None: Kaiming
        initialisation.
    grad_checkpointing : bool
        Compute each block's activations again in the backward pass: less memory, about a third more time.
    dropout : float
        Probability, after each of the two linear layers.

    Raises
    ------
    WeightsError
        The weights cannot be read, or do not fit.
    """

    num_features = 256

    def __init__(
        self,
        image_size: int,
        channels: int = 3,
        weights: str | None = None,
        grad_checkpointing: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if weights == "imagenet":
            raise WeightsError(
                "There are no ImageNet weights for custom6conv. Choose backbone.weights=null, the path of a checkpoint "
                "of this network, or backbone=resnet18."
            )
        self.grad_checkpointing = grad_checkpointing
        self.blocks = nn.ModuleList(Block(before, after) for before, after in pairwise((channels, *WIDTHS)))
        side = image_size
        for _ in WIDTHS:
            side = -(-side // 2)
        self.hidden = nn.Sequential(
            nn.Flatten(),
            nn.Linear(WIDTHS[-1] * side * side, 512),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(512, self.num_features),
            nn.ReLU(),
            nn.Dropout(dropout),
        )
        kaiming_init(self)
        if weights is not None:
            load_into(self, read_state(weights), "blocks.0.0.weight", weights)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Compute features (B, 256)."""
        x = images_BCHW
        for block in self.blocks:
            x = run_stage([block], x, self.grad_checkpointing, draws=False)
        return self.hidden(x)

    def stages(self) -> list[list[str]]:
        """Return the six blocks and the linear layers, by the beginnings of the names of their parameters."""
        return [*([f"blocks.{number}"] for number in range(len(WIDTHS))), ["hidden"]]


class LateBiasConv2d(nn.Conv2d):
    """A convolution that leaves its bias to be added later."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Compute (B, C out, H, W), without the bias."""
        return self._conv_forward(x_BCHW, self.weight, None)


class Block(nn.Sequential):
    """Convolution 3x3, ReLU and max-pooling to half the size; `plain` has them one after another.

    The greatest of some values has its bias, and its ReLU, as the values would each: so both wait for the pooling, and
    pass over a quarter of the values.
    """

    def __init__(self, before: int, after: int) -> None:
        # ceil_mode keeps a last odd row or column, so that images down to one pixel pass all six pools
        super().__init__(LateBiasConv2d(before, after, 3, padding=1), nn.MaxPool2d(2, ceil_mode=True))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Compute maps of half the size."""
        conv, pool = self
        x_BCHW = pool(conv(x_BCHW))
        bias_C = cast(Tensor, conv.bias).to(x_BCHW.dtype)
        return F.relu(x_BCHW + bias_C[:, None, None], inplace=True)

    def plain(self) -> nn.Sequential:
        """Return ordinary layers that do the same, with the parameters of this one."""
        given, pool = cast(tuple[LateBiasConv2d, nn.MaxPool2d], tuple(self))
        conv = nn.Conv2d(given.in_channels, given.out_channels, 3, padding=1, device="meta")
        conv.weight, conv.bias = given.weight, given.bias
        return nn.Sequential(conv, nn.ReLU(inplace=True), pool).eval()
