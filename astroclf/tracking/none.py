"""``tracking=none``: the run folder is the only record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from astroclf.tracking.tensorboard import TensorBoardCurves


class NullTracker:
    """A tracker with every method of `MlflowTracker` that records nothing, except TensorBoard curves if asked to.

    Parameters
    ----------
    tensorboard
        Whether to write curves and histograms to `tensorboard_dir`.
    resume_step
        The step at which an interrupted run goes on.
    """

    run_id: str | None = None

    def __init__(
        self,
        *,
        tensorboard: bool = False,
        tensorboard_dir: str | Path | None = None,
        resume_step: int | None = None,
    ) -> None:
        self._curves: TensorBoardCurves | None = None
        self._points: list[tuple[dict[str, float], int]] = []
        if tensorboard and tensorboard_dir is not None:
            from astroclf.tracking.tensorboard import TensorBoardCurves

            self._curves = TensorBoardCurves(tensorboard_dir, resume_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        if self._curves is not None:
            self._points.append((dict(metrics), step))

    def log_histograms(self, model: nn.Module, step: int) -> None:
        if self._curves is not None:
            self._curves.log_histograms(model, step)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Nothing: the file lies in the run folder already."""

    def log_artifacts(self, folder: str | Path, into: str = "") -> None:
        """Nothing: the files lie in the run folder already."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Nothing: config.yaml and metrics.json hold them."""

    def flush(self) -> None:
        if self._curves is not None:
            for metrics, step in self._points:
                self._curves.log_metrics(metrics, step)
            self._curves.flush()
        self._points.clear()

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Nothing to restore."""

    def where_to_look(self) -> str:
        return "Tracking is off (tracking=none): the run folder holds everything."

    def close(self, status: str = "FINISHED") -> None:
        self.flush()
        if self._curves is not None:
            self._curves.close()
            self._curves = None
