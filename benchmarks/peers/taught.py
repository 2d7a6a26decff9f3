"""A data set in memory and torchvision's transforms, as PyTorch and Lightning teach them to be written."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision.transforms import v2


class Tensors(Dataset):
    """Images in memory that a worker transforms one by one: no file is decoded, which flatters whoever reads it."""

    def __init__(self, images: np.ndarray, classes: int, transform: object = None) -> None:
        self.images_BCHW = torch.from_numpy(images).permute(0, 3, 1, 2)
        self.classes, self.transform = classes, transform

    def __len__(self) -> int:
        return len(self.images_BCHW)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return self.transform(self.images_BCHW[index]), index % self.classes  # type: ignore[operator]


class Pictures(Dataset):
    """The same as Pillow's images, which timm's transforms take; timm sets `transform`."""

    def __init__(self, images: np.ndarray, classes: int) -> None:
        self.images, self.classes, self.transform = images, classes, None

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[object, int]:
        return self.transform(Image.fromarray(self.images[index])), index % self.classes  # type: ignore[misc]


def middle(size: int) -> tuple[int, int]:
    """Return height and width of what the recipe keeps of an image, which is 170 by 240 of 256 pixels."""
    return round(size * 170 / 256), round(size * 240 / 256)


def galaxy10_transform(size: int) -> v2.Compose:
    """The second forerunner's recipe for Galaxy10, for images of any size."""
    return v2.Compose(
        [
            v2.CenterCrop(middle(size)),
            v2.ColorJitter(0.4, 0.4, 0.4, 0.5),
            v2.GaussianBlur(3),
            v2.RandomHorizontalFlip(0.5),
            v2.RandomRotation((0, 270)),
            v2.Resize((size, size), antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )
