"""Two training images in one: MixUp blends them, CutMix pastes a rectangle of one into the other.

Each image of a batch gets a partner in it, and keeps its own label beside the partner's: the loss is taken against
both, by the shares that are seen of them, as in both papers' own code. So any loss can be trained with.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch

from astroclf.data.augment.draws import mix_64
from astroclf.data.augment.on_torch import send

MIXING = np.uint64(0x313)  # apart from what else follows from the samples' keys


class Mix(NamedTuple):
    """Which image of the batch is seen in which, and where."""

    partners_B: np.ndarray  # int64: places in the batch
    shares_B: np.ndarray  # float64: how much of the image is its partner's
    boxes_B4: np.ndarray | None  # of CutMix: top, left, bottom, right in the output's pixels; None: MixUp


def draw_mix(keys_B: np.ndarray, size: tuple[int, int], mixup: float, cutmix: float) -> Mix:
    """Draw how a batch is mixed: a function of its samples' keys, in their order, alone.

    Parameters
    ----------
    keys_B : uint64
        Of `draws.sample_keys`.
    size
        Height and width of the images.
    mixup, cutmix : float
        The parameter α of the Beta(α, α) that shares are drawn from, of Zhang et al. 2018 (arXiv:1710.09412) and Yun et
        al. 2019 (arXiv:1905.04899); 0: off. With both, each batch gets one of them, as likely. Every image has a share
        of its own.
    """
    folded = np.uint64(0)
    for key in keys_B:
        folded = mix_64(np.array([folded ^ key]))[0]
    random = np.random.Generator(np.random.PCG64(int(folded ^ MIXING)))
    count = len(keys_B)
    cut = bool(cutmix) and (not mixup or random.random() < 0.5)
    partners_B = random.permutation(count)
    alpha = cutmix if cut else mixup
    shares_B = random.beta(alpha, alpha, count)
    if not cut:
        return Mix(partners_B, shares_B, None)
    sides = []
    for side in size:
        half = np.sqrt(shares_B) * side / 2
        middle = random.random(count) * side
        sides.append((np.rint(middle - half).clip(0, side), np.rint(middle + half).clip(0, side)))
    (top, bottom), (left, right) = sides
    boxes_B4 = np.stack([top, left, bottom, right], axis=1).astype(np.int64)
    seen_B = (bottom - top) * (right - left) / (size[0] * size[1])  # a box that reaches beyond the image is cut off
    return Mix(partners_B, seen_B, boxes_B4)


def mix_images(images_BCHW: torch.Tensor, mix: Mix) -> torch.Tensor:
    """Return the mixed images, in the memory format of what is given."""
    device = images_BCHW.device
    partners_BCHW = images_BCHW[send(mix.partners_B, device)]
    if mix.boxes_B4 is None:
        return torch.lerp(images_BCHW, partners_BCHW, send(mix.shares_B, device)[:, None, None, None])
    top, left, bottom, right = send(mix.boxes_B4, device)[:, :, None, None, None].unbind(1)
    height, width = images_BCHW.shape[2:]
    y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)[None, :]
    pasted_B1HW = (y >= top) & (y < bottom) & (x >= left) & (x < right)
    return torch.where(pasted_B1HW, partners_BCHW, images_BCHW)
