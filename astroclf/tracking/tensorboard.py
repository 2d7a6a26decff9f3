"""Curves and weight histograms for TensorBoard, which any tracker can write beside its own record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import torch
    from torch import nn
    from torch.utils.tensorboard import writer
else:
    writer = lazy_import("torch.utils.tensorboard.writer")  # half a second, only for those who asked for it


class TensorBoardCurves:
    """Event files that ``tensorboard --logdir experiments/runs`` reads, or nothing at all.

    Parameters
    ----------
    folder
        Where to write; None writes nothing.
    resume_step
        The step at which an interrupted run goes on: what it has already written from there on is hidden.
    """

    def __init__(self, folder: str | Path | None, resume_step: int | None = None) -> None:
        self._writer = writer.SummaryWriter(str(folder), purge_step=resume_step) if folder is not None else None
        self._unwritten: list[tuple[dict[str, float], int]] = []

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep one point of each curve for the next `flush`."""
        if self._writer is not None:
            self._unwritten.append((dict(metrics), step))

    def log_histograms(self, model: nn.Module, step: int) -> None:
        """Write the distribution of every weight tensor, NaN and infinities left out."""
        for name, parameter in model.named_parameters() if self._writer is not None else ():
            self._add_histogram(f"weights/{name.replace('.', '/')}", parameter.detach(), step)

    def flush(self) -> None:
        """Write every point that was kept."""
        if self._writer is not None:
            for metrics, step in self._unwritten:
                for name, value in metrics.items():
                    self._writer.add_scalar(name, value, step)
            self._unwritten.clear()
            self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the file. A second call does nothing."""
        if self._writer is not None:
            self.flush()
            self._writer.close()
            self._writer = None

    def _add_histogram(self, name: str, tensor: torch.Tensor, step: int) -> None:
        values = tensor.float().flatten()
        values = values[values.isfinite()]  # NaN would make the writer raise, in the moment when one wants to look
        if self._writer is not None and len(values):
            self._writer.add_histogram(name, values.cpu().numpy(), step)
