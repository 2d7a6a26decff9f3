"""``tracking=none``: the run folder is the only record, with TensorBoard's files in it if asked for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.tracking.tensorboard import TensorBoardCurves
from astroclf.tracking.tracker import RunStatus

if TYPE_CHECKING:
    from torch import nn


class NullTracker:
    """A tracker that records nothing, except TensorBoard curves if asked to.

    Parameters
    ----------
    tensorboard
        Whether to write curves and histograms to `tensorboard_dir`.
    resume_step
        The step at which an interrupted run goes on.
    """

    def __init__(
        self,
        *,
        tensorboard: bool = False,
        tensorboard_dir: str | Path | None = None,
        resume_step: int | None = None,
    ) -> None:
        self.run_id: str | None = None
        self._curves = TensorBoardCurves(tensorboard_dir if tensorboard else None, resume_step)

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep one point of each curve for the next `flush`."""
        self._curves.log_metrics(metrics, step)

    def log_histograms(self, model: nn.Module, step: int) -> None:
        """Write the distribution of every weight tensor."""
        self._curves.log_histograms(model, step)

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Do nothing: the file lies in the run folder already."""

    def log_artifacts(self, folder: str | Path, into: str = "") -> None:
        """Do nothing: the files lie in the run folder already."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Do nothing: ``config.yaml`` and ``metrics.json`` hold them."""

    def describe(self, markdown: str) -> None:
        """Do nothing: ``report.html`` says more."""

    def flush(self) -> None:
        """Write the curves' points that were kept."""
        self._curves.flush()

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: the curves lie in the run folder, as far as the last flush."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Do nothing: there is nothing to take over."""

    def where_to_look(self) -> str:
        """Return one line that says that the run folder is the record."""
        return "Tracking is off (tracking=none): the run folder holds everything."

    def close(self, status: RunStatus | None = "FINISHED") -> None:
        """Write what is left of the curves and close their file."""
        self._curves.close()
