"""Curves and weight histograms for TensorBoard, beside the MLflow record."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn


class TensorBoardCurves:
    """Event files in `folder`, read by ``tensorboard --logdir experiments/runs``.

    Parameters
    ----------
    folder
        Made when the first value is written.
    resume_step
        Steps from here on that an interrupted run has already written are hidden by TensorBoard.
    """

    def __init__(self, folder: str | Path, resume_step: int | None = None) -> None:
        from torch.utils.tensorboard.writer import (
            SummaryWriter,
        )  # half a second, only for those who asked for it

        self._writer = SummaryWriter(str(folder), purge_step=resume_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """One point a curve: losses, learning rate, gradient norms."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)

    @torch.no_grad()
    def log_histograms(self, model: nn.Module, step: int) -> None:
        """The distribution of every weight tensor; NaN and inf left out."""
        for name, parameter in model.named_parameters():
            self._add_histogram(f"weights/{name.replace('.', '/')}", parameter, step)

    def flush(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()

    def _add_histogram(self, name: str, tensor: torch.Tensor, step: int) -> None:
        values = tensor.detach().float().flatten()
        values = values[torch.isfinite(values)]  # NaN would make the writer raise, in the moment when one wants to look
        if math.prod(values.shape):
            self._writer.add_histogram(name, values.cpu().numpy(), step)
