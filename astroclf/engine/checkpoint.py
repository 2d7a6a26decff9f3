"""Checkpoints: the loop's whole state in one file, replaced atomically, loaded without running code from it."""

from __future__ import annotations

import math
import os
import uuid
from pathlib import Path
from typing import Any

import torch

from astroclf.errors import CheckpointError
from astroclf.models.weights import CHECKPOINT_FORMAT, UnreadableTensors, load_tensors, other_format
from astroclf.util.atomic import atomic_path


class CheckpointFolder:
    """The ``checkpoints/`` of a run: ``last.pt``, ``best.pt``, the few of lowest loss, and one every n epochs.

    A state is written once; the other names are hard links to it (copies where the file system has none), which is
    safe because files here are replaced, never changed. ``last.pt`` comes last: once it stands, all the others do.
    """

    def __init__(self, folder: Path, keep_lowest_loss: int) -> None:
        self.folder = folder
        self.keep_lowest_loss = keep_lowest_loss
        self.lowest: list[tuple[float, str]] = []  # (validation loss, file name), best first

    @property
    def last(self) -> Path:
        """The newest state of the training."""
        return self.folder / "last.pt"

    @property
    def best(self) -> Path:
        """The state of the best validation."""
        return self.folder / "best.pt"

    def rank(self, loss: float, step: int) -> str | None:
        """Enter a validation among the lowest; return the name that its checkpoint is to have, or None."""
        loss = math.inf if math.isnan(loss) else loss
        name = f"step-{step:07d}-loss-{loss:.4f}.pt"
        ranking = sorted([*self.lowest, (loss, name)])[: self.keep_lowest_loss]
        self.lowest = ranking
        return name if (loss, name) in ranking else None

    def save(self, state: dict[str, Any], also_as: list[str]) -> None:
        """Write `state` as ``last.pt`` and under the other names.

        Raises
        ------
        AstroclfError
            The disk is full or not writable; the checkpoints written before are intact.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.last) as temporary:
            with open(temporary, "wb") as file:
                torch.save({"format": CHECKPOINT_FORMAT, **state}, file)
            for name in also_as:
                _link(temporary, self.folder / name)
        kept = {name for _, name in self.lowest}
        for path in self.folder.glob("step-*-loss-*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def restore_best(self, step: int) -> None:
        """Make ``best.pt`` the checkpoint of this step: the best of the run up to the one that is resumed.

        Raises
        ------
        CheckpointError
            No file of that step is kept.
        """
        for path in [self.best, *sorted(self.folder.glob("*.pt"))]:
            if path.is_file() and load_checkpoint(path)["train_state"]["step"] == step:
                if path != self.best:
                    _link(path, self.best)
                return
        raise CheckpointError(
            f"The run cannot go on from there: the best weights up to that point, of step {step}, are no longer kept "
            f"in {self.folder}. Resume its last.pt, or start a new run."
        )


def _link(existing: Path, target: Path) -> None:
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        os.link(existing, temporary)
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        with atomic_path(target) as copy:
            copy.write_bytes(existing.read_bytes())


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU: tensors and plain values only, no pickled code.

    Raises
    ------
    CheckpointError
        No such file, or not a whole checkpoint of ours.
    """
    if not path.is_file():
        raise CheckpointError(
            f"There is no checkpoint at {path}. `resume` takes a run folder (experiments/runs/<dataset>/<time>-<id>) "
            "or one of the files in its checkpoints/."
        )
    try:
        state = load_tensors(path)
    except (UnreadableTensors, OSError) as error:
        raise CheckpointError(
            f"{path} is no checkpoint that can be read ({error}). Resume from another file in {path.parent}."
        ) from error
    if not isinstance(state, dict) or "format" not in state:
        raise CheckpointError(f"{path} is no astroclf checkpoint. Resume from another file.")
    if state["format"] != CHECKPOINT_FORMAT:
        raise CheckpointError(other_format(path, state["format"]))
    return state
