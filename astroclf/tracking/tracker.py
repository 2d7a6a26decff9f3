"""What every tracker does: the one type that training, testing and sweeps know of whoever keeps their records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import nn

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]


@dataclass(frozen=True)
class RecordedSplit:
    """A split of the data set that a run learns from or is judged by, as its record shows it.

    Attributes
    ----------
    dataset
        The data set's name.
    use
        ``training``, ``validation`` or ``test``.
    fingerprint
        Of the split's content: where it is equal, the images and labels are.
    place
        The folder or file that was read, or the name of what simulates it.
    images_of_class
        How many images of each class the split has.
    """

    dataset: str
    use: str
    fingerprint: str
    place: str
    images_of_class: Mapping[str, int]


@runtime_checkable
class Tracker(Protocol):
    """Takes the numbers of one run as they come and sends them at `flush`, which follows each checkpoint.

    A checkpoint holds `state_dict`, the numbers not sent yet, so that a run killed between the two loses none and,
    resumed, shows none twice. Once a tracker is made, only `close` may fail for the sake of the record: a training
    goes on where its records cannot be written.

    A tracker is built from its yaml in ``conf/tracking`` and from those of these run-time values that its signature
    names: ``run_name``, ``run_id`` (go on with this run), ``parent_run_id`` (of the sweep), ``params`` (the
    configuration), ``tags``, ``splits`` (what is learnt from, `RecordedSplit`), ``tensorboard_dir``, ``resume_step``.

    Attributes
    ----------
    run_id : str or None
        By which others find the run's record, and a resumed run its own; None where nothing is recorded.
    """

    run_id: str | None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Keep one point of each curve for the next `flush`."""

    def log_histograms(self, model: nn.Module, step: int) -> None:
        """Record the distribution of every weight tensor, where there is a place for it."""

    def log_artifact(self, path: str | Path, folder: str = "") -> None:
        """Copy one file, or a folder with all that is in it, to the run's record, below `folder`."""

    def log_artifacts(self, folder: str | Path, into: str = "") -> None:
        """Copy what is in a folder (not the folder itself) to the run's record, below `into`."""

    def set_tags(self, tags: Mapping[str, Any]) -> None:
        """Set or replace tags of the run."""

    def describe(self, markdown: str) -> None:
        """Set or replace what the run's page says of it in words."""

    def flush(self) -> None:
        """Send everything that was logged. Called right after each checkpoint."""

    def state_dict(self) -> dict[str, Any]:
        """Return what was logged and not sent yet. Part of the checkpoint, and taken before `flush`."""

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what an interrupted process may not have sent."""

    def where_to_look(self) -> str:
        """Return one line for the end of a run: where its record is."""

    def close(self, status: RunStatus | None = "FINISHED") -> None:
        """Send what is left and mark how the run ended. A second call does nothing.

        With None neither is done: another process goes on with the run.

        Raises
        ------
        TrackingError
            Something could not be delivered; only after the status FINISHED.
        """
