"""When to stop: no better validation loss for a while."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass
class EarlyStopping:
    """Patience counted in epochs, whatever the number of validations in one.

    Parameters
    ----------
    patience : float or None
        Epochs without a lower validation loss after which `update` says stop; None never does.
    """

    patience: float | None
    best_loss: float = math.inf
    best_epoch: float = 0.0

    def update(self, loss: float, epoch: float) -> bool:
        """Take in a validation at `epoch` (a fraction counts); True when it is time to stop."""
        if loss < self.best_loss:
            self.best_loss, self.best_epoch = loss, epoch
        return self.is_over(epoch)

    def is_over(self, epoch: float) -> bool:
        """Tell whether patience is at its end at `epoch`."""
        return self.patience is not None and epoch - self.best_epoch >= self.patience

    def state_dict(self) -> dict[str, float]:
        """Return the best validation so far."""
        return {"best_loss": self.best_loss, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """Take up what `state_dict` gave."""
        self.best_loss, self.best_epoch = state["best_loss"], state["best_epoch"]
