"""The eight symmetries of the square, for averaging predictions over views that mean the same."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch


def dihedral_views(images_BCHW: torch.Tensor) -> Iterator[torch.Tensor]:
    """Yield the eight views of a batch of square images: 0 to 3 quarter turns counter-clockwise, plain, then mirrored.

    Pixels are moved, never interpolated. The first view is the batch itself; all keep its shape and memory format.
    """
    if images_BCHW.shape[2] != images_BCHW.shape[3]:
        raise ValueError(f"needs square images, got {tuple(images_BCHW.shape)}")
    memory_format = torch.contiguous_format
    if images_BCHW.is_contiguous(memory_format=torch.channels_last):
        memory_format = torch.channels_last
    for view in (images_BCHW, images_BCHW.flip(3)):
        for turns in range(4):
            yield torch.rot90(view, turns, dims=(2, 3)).contiguous(memory_format=memory_format)


def undone_views(maps_BCHW: Sequence[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Yield what was computed of each of the eight views, in their order, turned back to the first."""
    for number, view_BCHW in enumerate(maps_BCHW):
        turned_BCHW = torch.rot90(view_BCHW, -(number % 4), dims=(2, 3))
        yield turned_BCHW.flip(3) if number >= 4 else turned_BCHW
