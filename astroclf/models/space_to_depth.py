"""The first convolution of a network on a GPU: of squares of pixels, because three bands are too few for its kernels.

cuDNN fills three channels up to eight and multiplies with the zeros; as many squares of 2x2 pixels have twelve
channels, filled up to sixteen, and the stride is gone. On an H200 the first convolution of a ResNet-18 takes 0.6 ms so
instead of 1.2 or 2.0, for 512 images of 128 pixels, and with its gradient 1.0 instead of 1.9 or 2.8
(experiments/speed_gpu.md). The sums are the same, in another order.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from astroclf.models.convolutions import Pair, output_side, pair

MOST_BANDS = 4  # more would be filled up to more than their own convolution is
ALIGNED = 8  # channels: what tensor cores take at once
PAYS_FROM = 2**21  # pixels of a batch: below, a GPU waits for the launches of some kernels more


class ImageConv2d(nn.Conv2d):
    """A convolution of images, computed by `image_conv2d`."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Compute (B, C out, H', W')."""
        return image_conv2d(x_BCHW, self.weight, self.bias, pair(self.stride), self._padding)

    def plain(self) -> nn.Conv2d:
        """Return the ordinary convolution that does the same, with the parameters of this one."""
        sides = pair(self.kernel_size), pair(self.stride), self._padding
        with_bias = self.bias is not None
        conv = nn.Conv2d(self.in_channels, self.out_channels, *sides, bias=with_bias, device="meta")
        conv.weight, conv.bias = self.weight, self.bias
        return conv.eval()

    @property
    def _padding(self) -> Pair:
        return pair(cast("tuple[int, ...]", self.padding))  # of the layers made here it is no word


def image_conv2d(
    x_BCHW: Tensor, weight_OCHW: Tensor, bias_O: Tensor | None = None, stride: Pair = (1, 1), padding: Pair = (0, 0)
) -> Tensor:
    """Compute a convolution, in the form that `in_squares` gives it."""
    x_BCHW, weight_OCHW, stride, padding = in_squares(x_BCHW, weight_OCHW, stride, padding)
    return F.conv2d(x_BCHW, weight_OCHW, bias_O, stride, padding)


def in_squares(x_BCHW: Tensor, weight_OCHW: Tensor, stride: Pair, padding: Pair) -> tuple[Tensor, Tensor, Pair, Pair]:
    """Return the images, filters, stride and padding of the convolution that computes the same in the least time.

    That is one of squares of pixels with stride 2 of many images on a GPU, in half precision, if their sides are even
    and their bands few; else it is the given one.
    """
    batch, bands, height, width = x_BCHW.shape
    fits = stride == (2, 2) and bands <= MOST_BANDS and height % 2 == width % 2 == 0
    if not (x_BCHW.is_cuda and fits and batch * height * width >= PAYS_FROM):
        return x_BCHW, weight_OCHW, stride, padding
    dtype = torch.get_autocast_dtype("cuda") if torch.is_autocast_enabled("cuda") else x_BCHW.dtype
    if dtype.itemsize != 2:
        return x_BCHW, weight_OCHW, stride, padding
    squares = squares_of(x_BCHW.to(dtype), pair(weight_OCHW.shape[2:]), padding)
    return squares, filters_of(weight_OCHW.to(dtype), padding), (1, 1), (0, 0)


def squares_of(x_BCHW: Tensor, kernel: Pair, padding: Pair) -> Tensor:
    """Lay images out as squares of 2x2 pixels, in half as many rows and columns, with the squares of zeros around."""
    batch, bands, height, width = x_BCHW.shape
    (above, below), (left, right) = (_around(*each) for each in zip((height, width), kernel, padding, strict=True))
    channels = -(-4 * bands // ALIGNED) * ALIGNED
    out_BHWC = x_BCHW.new_zeros(batch, above + height // 2 + below, left + width // 2 + right, channels)
    pixels = x_BCHW.permute(0, 2, 3, 1).unflatten(1, (-1, 2)).unflatten(3, (-1, 2)).transpose(2, 3)
    inside = out_BHWC[:, above : above + height // 2, left : left + width // 2, : 4 * bands]
    inside.unflatten(3, (2, 2, bands)).copy_(pixels)
    return out_BHWC.permute(0, 3, 1, 2)


def filters_of(weight_OCHW: Tensor, padding: Pair) -> Tensor:
    """Lay filters out as `squares_of` does images."""
    _, bands, *kernel = weight_OCHW.shape
    (top, bottom), (left, right) = (_beside(*each) for each in zip(kernel, padding, strict=True))
    squares = F.pad(weight_OCHW, (left, right, top, bottom)).unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
    weight = squares.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)
    filled = F.pad(weight, (0, 0, 0, 0, 0, -4 * bands % ALIGNED))
    return filled.contiguous(memory_format=torch.channels_last)


def _beside(kernel: int, padding: int) -> tuple[int, int]:
    """Return the rows of zeros before and after a kernel's, with which it begins and ends as squares do."""
    before = padding % 2
    return before, (kernel + before) % 2


def _around(side: int, kernel: int, padding: int) -> tuple[int, int]:
    """Return the squares of zeros before and after the image's."""
    outputs = output_side(side, kernel, 2, padding)
    before, after = _beside(kernel, padding)
    squares_before = (padding + before) // 2
    return squares_before, outputs - 1 + (kernel + before + after) // 2 - squares_before - side // 2
