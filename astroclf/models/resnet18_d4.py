"""A ResNet-18 whose features are the same for an image in all eight orientations of the square.

Its convolutions are those of the group D4 (Cohen & Welling 2016, arXiv:1602.07576): every filter is used in the four
rotations and their mirror images. A galaxy has no upright, so none has to be learned. What one orientation of a layer's
output is belongs together with the seven others: a *field*, eight channels; a channel is that of field k in orientation
g at place ``g * fields + k``.
"""

from __future__ import annotations

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from astroclf.errors import ConfigError, WeightsError
from astroclf.models.blocks import run_resnet
from astroclf.models.space_to_depth import image_conv2d
from astroclf.models.weights import load_into, read_state

ORIENTATIONS = 8
FIELDS = (8, 16, 32, 64)  # of the four stages: 64 to 512 channels, as a ResNet-18 has
HALVINGS = {"imagenet": 5, "small": 3}


def turned(x: Tensor, orientation: int) -> Tensor:
    """Turn the last two axes into one of eight orientations: mirrored from 4 on, then by quarters of a turn."""
    mirrored = x.flip(-1) if orientation >= ORIENTATIONS // 2 else x
    return torch.rot90(mirrored, orientation % 4, (-2, -1))


def seen_from(orientation: int, of_each: Tensor, dim: int = 0) -> Tensor:
    """Return what there is of each orientation, along an axis of eight, in the order that is seen from one of them.

    At place h stands the k that makes h of it: g k = h. For a turn g that shifts the places of the turns, and those of
    the mirrored ones; a mirrored g swaps and reverses them. An index would be looked up on a GPU, and waited for.
    """
    halves = of_each.unflatten(dim, (2, ORIENTATIONS // 2))
    mirrored, turns = divmod(orientation, ORIENTATIONS // 2)
    if mirrored:
        halves, turns = halves.flip(dim, dim + 1), turns + 1
    return halves.roll(turns, dim + 1).flatten(dim, dim + 1)


class D4Conv(nn.Module):
    """A convolution without bias whose filters are used in all eight orientations.

    A kernel of odd side stands at every pixel; one of even side at every second, so that the halved image has the same
    symmetries, if its side is even.

    Parameters
    ----------
    before : int
        Fields of the input, or channels of the image.
    fields : int
        Fields of the output.
    kernel : int
        Side of the filters.
    of_image : bool
        Whether the input is the image, whose channels have no orientation.
    """

    def __init__(self, before: int, fields: int, kernel: int, *, of_image: bool = False) -> None:
        super().__init__()
        self.of_image, self.kernel = of_image, kernel
        self.stride = 1 if kernel % 2 else 2
        self.padding = (kernel - self.stride) // 2
        shape = (fields, before if of_image else before * ORIENTATIONS, kernel, kernel)
        deviation = math.sqrt(2 / (ORIENTATIONS * fields * kernel**2))  # He et al. 2015, by fan-out as torchvision's
        self.weight = nn.Parameter(torch.randn(shape) * deviation)

    def filters(self) -> Tensor:
        """Compute the filters of an ordinary convolution that does the same."""
        rows = []
        for g in range(ORIENTATIONS):
            weight: Tensor = self.weight
            if not self.of_image:
                weight = seen_from(g, weight.unflatten(1, (-1, ORIENTATIONS)), 2).transpose(1, 2).flatten(1, 2)
            rows.append(turned(weight, g))
        return torch.cat(rows)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Compute the fields (B, 8 * fields, H, W), or half as high and wide with an even kernel."""
        sides = (self.stride, self.stride), (self.padding, self.padding)
        return image_conv2d(x_BCHW, self.filters(), None, *sides)

    def plain(self) -> nn.Conv2d:
        """Return the ordinary convolution that does the same."""
        weight = self.filters().detach()
        conv = nn.Conv2d(weight.shape[1], len(weight), self.kernel, self.stride, self.padding, bias=False)
        conv.weight = nn.Parameter(weight, requires_grad=False)
        return conv.eval()


class D4Norm(nn.Module):
    """A BatchNorm that normalises the eight channels of a field alike.

    Parameters
    ----------
    fields : int
        Fields of input and output.
    """

    def __init__(self, fields: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(fields)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalise fields (B, 8 * fields, H, W)."""
        x_BHWC = x_BCHW.permute(0, 2, 3, 1)  # of channels_last, a view; orientations are then as further columns
        batch, height, width, channels = x_BHWC.shape
        columns = x_BHWC.reshape(batch, height, width * ORIENTATIONS, channels // ORIENTATIONS).permute(0, 3, 1, 2)
        return self.norm(columns).permute(0, 2, 3, 1).reshape(x_BHWC.shape).permute(0, 3, 1, 2)

    def plain(self) -> nn.BatchNorm2d:
        """Return the ordinary BatchNorm that does the same in evaluation mode."""
        norm = nn.BatchNorm2d(ORIENTATIONS * self.norm.num_features, eps=self.norm.eps)
        norm.load_state_dict(
            {
                name: values.repeat(ORIENTATIONS) if values.ndim else values
                for name, values in self.norm.state_dict().items()
            }
        )
        return norm.eval().to(self.norm.weight.device)


class _Block(nn.Module):
    """Two convolutions and what they are added to; the first may halve the image."""

    def __init__(self, before: int, fields: int, *, halves: bool) -> None:
        super().__init__()
        self.conv1, self.norm1 = D4Conv(before, fields, 4 if halves else 3), D4Norm(fields)
        self.conv2, self.norm2 = D4Conv(fields, fields, 3), D4Norm(fields)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if halves or before != fields:
            pool = nn.AvgPool2d(2) if halves else nn.Identity()
            self.shortcut = nn.Sequential(pool, D4Conv(before, fields, 1), D4Norm(fields))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        found = self.relu(self.norm1(self.conv1(x_BCHW)))
        return self.relu(self.norm2(self.conv2(found)) + self.shortcut(x_BCHW))


class ResNet18D4(nn.Module):
    """ResNet-18 (He et al. 2016, arXiv:1512.03385) of group convolutions: features of a galaxy, however it lies.

    It has the channels of a ResNet-18 and an eighth of its parameters; for answers its filters are laid out as those of
    an ordinary network. Features are the mean and the maximum over the eight orientations of each field of the last
    stage, averaged over the image before. In float32, those of turned images differ by rounding alone.

    Parameters
    ----------
    image_size : int
        Side of the images in pixels, a multiple of 32, or of 8 with the small stem: each halving needs an even side.
    channels : int
        Channels of an image.
    weights : str or None
        Path of a state_dict or an astroclf checkpoint of this network. None: Kaiming initialisation.
    grad_checkpointing : bool
        Compute each block's activations again in the backward pass: less memory, about a third more time.
    stem : {"imagenet", "small"}
        ``imagenet``: 6x6 convolution with stride 2, then max-pooling: a quarter of the size enters the first stage.
        ``small``: 3x3 convolution with stride 1: the full size enters, at 16 times the multiply-adds.
    width_mult : float
        How many fields the stages have, times 8, 16, 32 and 64. Parameters and work grow with its square.

    Raises
    ------
    WeightsError
        The weights cannot be read, or do not fit.
    ConfigError
        An unknown stem, a width that is not above 0, or an image size that cannot be halved so often.
    """

    def __init__(
        self,
        image_size: int,
        stem: str,
        width_mult: float,
        channels: int = 3,
        weights: str | None = None,
        grad_checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if stem not in HALVINGS:
            raise ConfigError(f"backbone.stem cannot be {stem!r}; choose imagenet or small.")
        if not (math.isfinite(width_mult) and width_mult > 0):
            raise ConfigError(f"backbone.width_mult={width_mult}: give a number above 0, such as 1 or 1.5.")
        multiple = 2 ** HALVINGS[stem]
        if image_size % multiple:
            lower = image_size // multiple * multiple
            near = f"{lower} or {lower + multiple}" if lower else str(multiple)
            raise ConfigError(
                f"backbone=resnet18_d4 with stem={stem} halves an image {HALVINGS[stem]} times, which leaves its "
                f"symmetries whole only where the side is a multiple of {multiple}: {image_size} is none. Set "
                f"dataset.image_size (or augment.output_size) to {near}."
            )
        if weights == "imagenet":
            raise WeightsError(
                "There are no ImageNet weights for resnet18_d4. Choose backbone.weights=null, the path of a checkpoint "
                "of this network, or backbone=resnet18."
            )
        self.grad_checkpointing = grad_checkpointing
        fields = [max(1, round(width_mult * count)) for count in FIELDS]
        self.num_features = 2 * fields[-1]
        self.conv1 = D4Conv(channels, fields[0], 3 if stem == "small" else 6, of_image=True)
        self.norm1, self.relu = D4Norm(fields[0]), nn.ReLU(inplace=True)
        self.maxpool = nn.Identity() if stem == "small" else nn.MaxPool2d(2)
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            nn.Sequential(_Block(before, count, halves=number > 0), _Block(count, count, halves=False))
            for number, (before, count) in enumerate(pairwise((fields[0], *fields)))
        )
        if weights is not None:
            load_into(self, read_state(weights), "conv1.weight", weights)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Compute features (B, 128 * width_mult), float32 under autocast too."""
        stem = self.conv1, self.norm1, self.relu, self.maxpool
        stages = [self.layer1, self.layer2, self.layer3, self.layer4]
        x = run_resnet(stem, stages, images_BCHW, self.grad_checkpointing)
        means = x.mean(dim=(2, 3), dtype=torch.promote_types(x.dtype, torch.float32)).unflatten(1, (ORIENTATIONS, -1))
        return torch.cat([means.mean(dim=1), means.amax(dim=1)], dim=1)

    def stages(self) -> list[list[str]]:
        """Return the stem and the four stages, by the beginnings of the names of their parameters."""
        return [["conv1", "norm1"], ["layer1"], ["layer2"], ["layer3"], ["layer4"]]
