"""The evaluation transform in operations that graphs have, equal to OpenCV's to the bit.

A transform that is off by one brightness in a few pixels moves probabilities by 1e-4. So this does what OpenCV's
INTER_AREA and its bilinear ``warpAffine`` do, in their order and their number formats.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from astroclf.data.augment.plan import Steps

_GROUP = 4  # bands that OpenCV resizes at once
_LANES = 16  # output pixels that its warp computes together; the rest of a row comes by other code


class EvaluationTransform(nn.Module):
    """What the network sees of stored pixels: crop, resize, normalise. (B, H, W, C) uint8 to (B, C, H', W') float32.

    Parameters
    ----------
    steps : Steps
        The plan of an evaluation, of a batch of one image.
    channels : int
        C.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, steps: Steps, channels: int) -> None:
        super().__init__()
        self.crop = steps.crop
        height, width = steps.crop[2:]
        self.area = AreaAverage((height, width), steps.area, channels) if steps.area is not None else None
        source = steps.area or (height, width)
        self.warp = Stretch(source, steps.output, steps.warp_B23[0]) if steps.warp_B23 is not None else None
        for name, values_C in (("scale", steps.scale_C), ("offset", steps.offset_C)):
            self.register_buffer(name, torch.from_numpy(np.ascontiguousarray(values_C))[None, :, None, None])

    def forward(self, images_BHWC: Tensor) -> Tensor:
        """Compute the network's input."""
        top, left, height, width = self.crop
        values_BCHW = images_BHWC[:, top : top + height, left : left + width].permute(0, 3, 1, 2).float()
        if self.area is not None:
            values_BCHW = self.area(values_BCHW)
        if self.warp is not None:
            values_BCHW = self.warp(values_BCHW)
        return values_BCHW * self.scale + self.offset


class AreaAverage(nn.Module):
    """OpenCV's INTER_AREA on whole brightnesses 0 to 255, rounded to whole ones.

    It has three ways: halving both sides, which rounds half up where it has code for the number of bands; another
    whole factor, one sum; and any other, first along rows and then along columns, in float32.
    """

    halving: Tensor

    def __init__(self, source: tuple[int, int], output: tuple[int, int], channels: int) -> None:
        super().__init__()
        self.factor = (source[0] // output[0], source[1] // output[1])
        self.whole = all(before % after == 0 for before, after in zip(source, output, strict=True))
        halving_C = torch.full((channels,), self.factor == (2, 2))
        if channels % _GROUP == 2:
            halving_C[-2:] = False  # of a group of two bands alone
        self.register_buffer("halving", halving_C[None, :, None, None])
        if not self.whole:
            self.rows, self.columns = Taps(source[0], output[0]), Taps(source[1], output[1])

    def forward(self, values_BCHW: Tensor) -> Tensor:
        """Compute the averages."""
        if not self.whole:
            return self.rows(self.columns(values_BCHW.transpose(2, 3)).transpose(2, 3)).round()
        down, across = self.factor
        sums_BCHW = torch.zeros_like(values_BCHW[:, :, ::down, ::across])
        for row in range(down):
            for column in range(across):
                sums_BCHW = sums_BCHW + values_BCHW[:, :, row::down, column::across]
        mean_BCHW = (sums_BCHW * np.float32(1 / (down * across)).item()).round()
        if self.factor != (2, 2):
            return mean_BCHW
        return torch.where(self.halving, ((sums_BCHW + 2) / 4).floor(), mean_BCHW)


class Taps(nn.Module):
    """Sums of weighted rows, one after the other, as OpenCV makes them: (B, C, source, W) to (B, C, output, W)."""

    index: Tensor
    weight: Tensor

    def __init__(self, source: int, output: int) -> None:
        super().__init__()
        step = source / output
        rows: list[list[tuple[int, float]]] = []
        for place in range(output):
            start, end = place * step, place * step + step
            cell = min(step, source - start)
            last = min(int(np.floor(end)), source - 1)
            first = min(int(np.ceil(start)), last)
            taps = [(first - 1, (first - start) / cell)] if first - start > 1e-3 else []
            taps += [(row, 1 / cell) for row in range(first, last)]
            taps += [(last, min(end - last, 1.0, cell) / cell)] if end - last > 1e-3 else []
            rows.append(taps)
        self.count = max(map(len, rows))
        padded = [taps + [(0, 0.0)] * (self.count - len(taps)) for taps in rows]
        index = torch.tensor([[row for row, _ in taps] for taps in padded]).T.contiguous()
        weight = torch.tensor([[weight for _, weight in taps] for taps in padded], dtype=torch.float32).T.contiguous()
        self.register_buffer("index", index)
        self.register_buffer("weight", weight[:, :, None])

    def forward(self, values_BCHW: Tensor) -> Tensor:
        """Compute the sums."""
        total_BCHW = values_BCHW[:, :, self.index[0]] * self.weight[0]
        for tap in range(1, self.count):
            total_BCHW = total_BCHW + values_BCHW[:, :, self.index[tap]] * self.weight[tap]
        return total_BCHW


class Stretch(nn.Module):
    """OpenCV's bilinear resampling on whole brightnesses, by a map that neither turns nor shears.

    OpenCV multiplies and adds in one rounding (FMA) on its vector path; in float64 the product is exact, so that
    rounding the sum to float32 is that. It computes columns the same way, but for those after the last whole vector.
    """

    x_low: Tensor
    x_high: Tensor
    x_part: Tensor
    y_low: Tensor
    y_high: Tensor
    y_part: Tensor

    def __init__(self, source: tuple[int, int], output: tuple[int, int], map_23: np.ndarray) -> None:
        super().__init__()
        rimmed = map_23.copy()
        rimmed[:, 2] += 1  # the executor for main memory puts a rim of repeated pixels around the image
        scale_x, scale_y = np.float32(rimmed[0, 0]), np.float32(rimmed[1, 1])
        shift_x, shift_y = np.float32(rimmed[0, 2]), np.float32(rimmed[1, 2])
        columns, rows = np.arange(output[1], dtype=np.float32), np.arange(output[0], dtype=np.float32)
        fused = (columns.astype(np.float64) * scale_x + shift_x).astype(np.float32)
        vectors = output[1] // _LANES * _LANES
        x = np.concatenate([fused[:vectors], (columns * scale_x + shift_x)[vectors:]])
        y = rows * scale_y + shift_y
        for name, places, side in (("x", x, source[1]), ("y", y, source[0])):
            before = np.floor(places)
            part = torch.from_numpy((places - before).astype(np.float64))
            self.register_buffer(f"{name}_part", part if name == "x" else part[:, None])
            for end, index in (("low", before - 1), ("high", before)):
                self.register_buffer(f"{name}_{end}", torch.from_numpy(np.clip(index, 0, side - 1).astype(np.int64)))

    def forward(self, values_BCHW: Tensor) -> Tensor:
        """Compute the brightnesses between pixels."""
        upper_BCHW, lower_BCHW = values_BCHW[:, :, self.y_low], values_BCHW[:, :, self.y_high]
        upper_BCHW = _between(upper_BCHW[:, :, :, self.x_low], upper_BCHW[:, :, :, self.x_high], self.x_part)
        lower_BCHW = _between(lower_BCHW[:, :, :, self.x_low], lower_BCHW[:, :, :, self.x_high], self.x_part)
        return _between(upper_BCHW, lower_BCHW, self.y_part).round()


def _between(first: Tensor, second: Tensor, part: Tensor) -> Tensor:
    """Compute the interpolation in one rounding to float32; `part` is float64."""
    return ((second - first).double() * part + first.double()).float()
