"""A table of a network's layers: shapes, parameters, multiply-adds."""

from __future__ import annotations

import copy
import re

import torch
import torchinfo
from torch import nn

from astroclf.models.resnet18_d4 import ORIENTATIONS, D4Conv


def model_statistics(
    model: nn.Module, image_size: int, channels: int = 3, batch_size: int = 1
) -> torchinfo.ModelStatistics:
    """Compute torchinfo's figures of a forward pass in evaluation mode, such as `total_params` and `total_mult_adds`.

    The pass is made by a copy whose tensors have shapes but no content: it costs no time or memory at any image
    size, and leaves the model (mode, BatchNorm statistics, device) and the random numbers as they were.
    """
    network = getattr(model, "_orig_mod", model)  # torch.compile's wrapper hides the layers
    shapes_only = copy.deepcopy(network).to("meta")
    statistics = torchinfo.summary(
        shapes_only,
        input_data=torch.empty(batch_size, channels, image_size, image_size, device="meta"),
        col_names=("output_size", "num_params", "mult_adds"),
        row_settings=("var_names",),
        depth=4,
        device="meta",
        verbose=0,
    )
    for layer in statistics.summary_list:
        if isinstance(layer.module, D4Conv):  # torchinfo counts each weight once for every pixel
            statistics.total_mult_adds += (ORIENTATIONS - 1) * layer.macs
            layer.macs *= ORIENTATIONS
    return statistics


def model_summary(model: nn.Module, image_size: int, channels: int = 3, batch_size: int = 1) -> str:
    """Return a text table of a network: layers, output shapes, parameters, multiply-adds and estimated memory."""
    table = str(model_statistics(model, image_size, channels, batch_size))
    return re.sub(r"Units\.(\w)\w*", r"\1", table) + "\n"  # torchinfo prints "(Units.GIGABYTES)" on newer Pythons
