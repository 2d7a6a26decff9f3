"""Checkpoints: the loop's whole state in one file, replaced atomically, loaded without running code from it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from astroclf.errors import CheckpointError
from astroclf.models.weights import CHECKPOINT_FORMAT, UnreadableTensors, load_tensors, other_format
from astroclf.util.atomic import atomic_path, temporary_path
from astroclf.util.logs import log

CHECKPOINTS = "checkpoints"  # what the folder is called in that of a run


class CheckpointFolder:
    """The ``checkpoints/`` of a run: ``last.pt``, ``best.pt``, the few of lowest loss, and one every n epochs.

    A state is written once; the other names are hard links to it (copies where the file system has none), which is
    safe because files here are replaced, never changed. ``last.pt`` comes first and says which names its state is to
    have: a process that is killed before it has given them all leaves that to the next one, in `go_on_from`.
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
        with atomic_path(self.last) as temporary, open(temporary, "wb") as file:
            torch.save({"format": CHECKPOINT_FORMAT, "also_as": also_as, **state}, file)
        self._give_names(also_as)

    def go_on_from(self, checkpoint: Path, state: Mapping[str, Any]) -> None:
        """Make the folder what it was when `state` was saved, whichever of its files that was read from.

        Raises
        ------
        CheckpointError
            The best weights up to that point are no longer kept; nothing was changed.
        """
        reached = state["train_state"]
        best = self._saved_at(reached["best"], checkpoint) if reached["best"] else None
        with suppress(CheckpointError):  # a damaged last.pt is a reason to go back
            newest = load_checkpoint(self.last)["train_state"]
            if repr(newest) != repr(reached):
                log.warning("Going back from step %d to step %d.", newest["step"], reached["step"])
        _link(checkpoint, self.last)
        if best is not None:
            _link(best, self.best)
        self._give_names(state["also_as"])

    def _give_names(self, names: list[str]) -> None:
        """Link what ``last.pt`` is under its other names, and remove what is no longer among the lowest."""
        for name in names:
            _link(self.last, self.folder / name)
        kept = {name for _, name in self.lowest}
        for path in self.folder.glob("step-*-loss-*.pt"):
            if path.name not in kept:
                path.unlink(missing_ok=True)

    def _saved_at(self, validation: Mapping[str, float], checkpoint: Path) -> Path:
        """Return the file that was saved at a validation, which its row of the history identifies: not by its name."""
        for path in [self.best, checkpoint, *sorted(self.folder.glob("*.pt"))]:
            with suppress(CheckpointError):  # another damaged file is no hindrance
                saved = load_checkpoint(path)["train_state"]
                at_validation = saved["history"] and saved["step"] == validation["step"]
                if at_validation and repr(saved["history"][-1]) == repr(validation):  # NaN equals NaN
                    return path
        raise CheckpointError(
            f"The run cannot go on from {checkpoint}: the best weights up to that point, of step "
            f"{validation['step']:.0f}, are no longer kept in {self.folder}. Resume its last.pt, or start a new run."
        )


def _link(existing: Path, target: Path) -> None:
    """Let `target` be the same file as `existing`, or a copy of it where the file system has no links."""
    if target.is_file() and target.samefile(existing):
        return  # POSIX renames nothing onto another link of the same file, and would leave the temporary name
    temporary = temporary_path(target)
    try:
        os.link(existing, temporary)
        os.replace(temporary, target)
    except OSError:
        temporary.unlink(missing_ok=True)
        with atomic_path(target) as copy:
            copy.write_bytes(existing.read_bytes())


def weights_of(state: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
    """Return the weights in a checkpoint that a model is used with: their moving average where there is one."""
    weights: Mapping[str, torch.Tensor] = state["model"] if state["ema"] is None else state["ema"]["model"]
    return weights


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
