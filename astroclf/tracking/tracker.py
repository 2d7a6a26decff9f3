"""What the training loop asks of whoever keeps the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from torch import nn


class Tracker(Protocol):
    """Takes numbers as they come and sends them at `flush`, which follows each checkpoint.

    A checkpoint holds `state_dict`, the numbers not sent yet, so that a run killed between the two loses none.
    """

    run_id: str | None

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None: ...

    def log_histograms(self, model: nn.Module, step: int) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...

    def flush(self) -> None: ...
