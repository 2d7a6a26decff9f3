"""THE loop: augmented batches in, gradients, a step, now and then a validation and a checkpoint."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from astroclf.data.loader import Batch, BatchLoader
from astroclf.engine.checkpoint import CheckpointFolder
from astroclf.engine.early_stopping import EarlyStopping
from astroclf.engine.ema import FiniteBuffers, ModelEMA
from astroclf.engine.meter import StepMeter
from astroclf.engine.progress import TrainProgress
from astroclf.engine.schedule import Schedule
from astroclf.engine.signals import StopRequest
from astroclf.errors import CheckpointError, Interrupted, TrainingError
from astroclf.evaluation.history import write_history
from astroclf.evaluation.inference import evaluate
from astroclf.evaluation.metrics import monitored
from astroclf.losses.criterion import Criterion
from astroclf.models.precision import Precision
from astroclf.settings.trainer import TrainerSettings
from astroclf.tracking.tracker import Tracker

log = logging.getLogger("astroclf")

CURVE_POINTS = 2000  # of the step-by-step curves that a whole run logs


@dataclass
class FitResult:
    """What `Trainer.fit` leaves beside the checkpoints."""

    best: dict[str, float]  # the history row of the best validation
    steps: int
    skipped_steps: int
    images_per_second: float
    data_wait_fraction: float
    stopped_early: bool


@dataclass
class TrainState:
    """Where the run stands: everything about it that is not a tensor."""

    epoch: int = 0
    batch: int = 0  # of the epoch: the next one to train on
    step: int = 0  # optimizer steps taken, skipped ones included
    finished: bool = False
    stopped_early: bool = False
    best: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, float]] = field(default_factory=list)


class Trainer:
    """A model, what it learns from, and how.

    Parameters
    ----------
    model : nn.Module
        Already on `precision.device`, in channels_last if `settings` say so. Returns a `Prediction`.
    criterion : Criterion
        Per-sample loss.
    train, val : BatchLoader
    optimizer : torch.optim.Optimizer
    schedule : Schedule
    precision : Precision
    settings : TrainerSettings
    classes : tuple of str
    folder : Path
        The run folder.
    tracker : Tracker
    monitor : str
        Column of the history that chooses the best checkpoint, such as ``val/accuracy``.
    resume_hint : str
        The command that goes on with this run, for messages.
    fingerprints : dict of str
        Of the images of each split: a checkpoint goes on only with the same ones.
    on_validation : callable, optional
        Called after each validation, once all is saved, with the history (a row a validation) and whether training is
        over. What it raises ends the training.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: Criterion,
        train: BatchLoader,
        val: BatchLoader,
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        settings: TrainerSettings,
        classes: tuple[str, ...],
        folder: Path,
        tracker: Tracker,
        monitor: str = "val/accuracy",
        resume_hint: str = "",
        fingerprints: dict[str, str] | None = None,
        on_validation: Callable[[list[dict[str, float]], bool], None] | None = None,
    ) -> None:
        self.model, self.criterion, self.train_loader, self.val_loader = model, criterion, train, val
        self.optimizer, self.schedule, self.precision, self.settings = optimizer, schedule, precision, settings
        self.classes, self.folder, self.tracker = classes, folder, tracker
        self.monitor, self.resume_hint, self.fingerprints = monitor, resume_hint, fingerprints or {}
        self.on_validation = on_validation
        self.average = ModelEMA(model, settings.ema_decay) if settings.ema_decay else None
        self.scaler = precision.scaler()
        self.early_stopping = EarlyStopping(settings.patience)
        self.checkpoints = CheckpointFolder(folder / "checkpoints", settings.keep_lowest_loss)
        self.position = TrainState()
        self.total_steps = planned_steps(settings, len(train))
        self.meter = StepMeter(precision.device, curve_every=max(1, self.total_steps // CURVE_POINTS))
        self.buffers = FiniteBuffers(model)
        self._saved_at = time.monotonic()

    def fit(self) -> FitResult:
        """Train from where `position` stands to the end, or until early stopping.

        Raises
        ------
        Interrupted
            Ctrl-C or SIGTERM came; the state is saved.
        TrainingError
            The loss stays non-finite, or the device is out of memory.
        """
        waited = self.train_loader.data_wait_seconds
        bar = TrainProgress(self.total_steps, self.settings.epochs, self.position.step)
        with StopRequest() as stop, bar as progress:
            try:
                self._run(stop, progress)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"The GPU ran out of memory at trainer.batch_size={self.settings.batch_size}. Halve it and double "
                    "trainer.grad_accum_steps for the same optimizer steps, or set backbone.grad_checkpointing=true. "
                    f"The last checkpoint is kept in {self.checkpoints.folder}."
                ) from error
        if not self.position.best:
            raise TrainingError(
                f"No validation in {self.position.step} steps gave a finite loss: there is no model to keep. Lower "
                "optimizer.lr, set trainer.grad_clip_norm, or use trainer.precision=fp32, and start a new run."
            )
        waited = self.train_loader.data_wait_seconds - waited
        return FitResult(
            best=self.position.best,
            steps=self.position.step,
            skipped_steps=self.meter.skipped_steps(),
            images_per_second=progress.images_per_second if progress.images else math.nan,
            data_wait_fraction=waited / progress.seconds,
            stopped_early=self.position.stopped_early,
        )

    def _run(self, stop: StopRequest, progress: TrainProgress) -> None:
        at, every = self.position, self.settings.grad_accum_steps
        self.model.train()
        while not at.finished:
            if at.step >= self.total_steps:  # a run of no steps still has a validated checkpoint
                self._validate(progress, last=True)
                break
            group: list[Batch] = []
            with closing(self.train_loader.epoch(at.epoch, start=at.batch)) as batches:
                for batch in batches:
                    group.append(batch)
                    at.batch += 1
                    if len(group) < every and at.batch < len(self.train_loader):
                        continue
                    loss = self._step(group)
                    progress.images += sum(len(b.labels_B) for b in group)
                    group = []

                    if progress.due():
                        progress.show(at.step, self._epoch(), self.schedule.lr(at.step), loss.item)
                        self._stop_if_stuck()
                    with progress.aside():
                        last = at.step >= self.total_steps
                        if last or self._validation_due():
                            self._validate(progress, last)
                        if stop.signal is not None:
                            self._interrupt(stop.signal)
                        if at.finished:
                            return
                        if self._saving_due():
                            self._save([])
            at.epoch, at.batch = at.epoch + 1, 0

    def _step(self, group: list[Batch]) -> torch.Tensor:
        """One optimizer step over the images of `group`; returns their mean loss, still on the device.

        A step whose loss or gradient is not finite changes no weight: GradScaler sees the gradients on the device and
        the fused optimizers skip without asking the host.
        """
        at, device = self.position, self.precision.device
        lr = self.schedule.apply(self.optimizer, at.step)
        images = sum(len(batch.labels_B) for batch in group)
        loss_sum = torch.zeros((), dtype=torch.float32, device=device)
        for batch in group:
            with self.precision.autocast():
                output = self.model(batch.images_BCHW)
            loss = self.criterion(output, batch.labels_B).total_B.sum()
            loss = loss * torch.where(torch.isfinite(loss), 1.0, math.nan)  # a loss of inf may have finite gradients
            self.scaler.scale(loss / images).backward()
            loss_sum += loss.detach()

        gradients = [parameter.grad for parameter in self.model.parameters() if parameter.grad is not None]
        if gradients:  # finite gradients may have an infinite norm: then too the scaler must see what is wrong
            sound = torch.isfinite(nn.utils.get_total_norm(gradients))
            torch._foreach_mul_(gradients, torch.where(sound, 1.0, math.nan))
        self.scaler.unscale_(self.optimizer)
        limit = self.settings.grad_clip_norm if self.settings.grad_clip_norm is not None else math.inf
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), limit)
        self.scaler.step(self.optimizer)
        # fp16 adapts its scale; the other formats keep 1, and update only clears what the scaler saw.
        self.scaler.update(None if self.precision.name == "fp16" else 1.0)
        self.optimizer.zero_grad(set_to_none=True)
        if self.average is not None:
            self.average.update()

        self.meter.add(at.step, lr, loss_sum, images, norm)
        at.step += 1
        return loss_sum / images

    def _validate(self, progress: TrainProgress, last: bool) -> None:
        """Measure on the validation images, log, decide about best and early stopping, save."""
        at = self.position
        self._stop_if_stuck()
        self.buffers.restore()
        model = self.average.model() if self.average is not None else self.model
        metrics = evaluate(model, self.criterion, self.val_loader, self.precision, self.classes).metrics()

        row: dict[str, float] = {
            "step": at.step,
            "epoch": self._epoch(),
            "lr": self.schedule.lr(max(at.step - 1, 0)),
            **self.meter.take_means(),
            **{f"val/{name}": value for name, value in metrics.items() if "/" not in name},
        }
        at.history.append(row)

        names = []
        if self._is_better(row):
            at.best = row
            names.append(self.checkpoints.best.name)
        if name := self.checkpoints.rank(row["val/loss"], at.step):
            names.append(name)
        epoch_ends = at.batch >= len(self.train_loader)
        if self.settings.keep_every and epoch_ends and (at.epoch + 1) % self.settings.keep_every == 0:
            names.append(f"epoch-{at.epoch + 1:04d}.pt")
        at.stopped_early = self.early_stopping.update(row["val/loss"], row["epoch"]) and not last
        at.finished = last or at.stopped_early

        self.tracker.log_metrics({**row, **self._machine_metrics(progress)}, at.step)
        self.tracker.log_metrics({f"val/{k}": v for k, v in metrics.items() if "/" in k}, at.step)
        self.tracker.log_histograms(model, at.step)
        self._save(names)
        write_history(self.folder / "history.csv", at.history)
        better = "  best so far" if at.best is row else ""
        log.info(
            "epoch %.2f  train loss %.4f  val loss %.4f  accuracy %.4f  macro F1 %.4f%s",
            row["epoch"], row["train/loss"], row["val/loss"], row["val/accuracy"], row["val/macro_f1"], better,
        )  # fmt: skip
        if at.stopped_early:
            log.info("No lower validation loss for %g epochs: stopped early.", self.settings.patience)
        if self.on_validation is not None:
            self.on_validation(at.history, at.finished)

    # ---- small questions -------------------------------------------------------------------------------------------

    def _epoch(self) -> float:
        """Epochs trained so far, with the fraction of the one under way."""
        return self.position.epoch + self.position.batch / len(self.train_loader)

    def _validation_due(self) -> bool:
        """Whether a validation falls on the step just taken; a pure function of the position."""
        at = self.position
        if self.settings.validate_every_steps:
            return at.step % self.settings.validate_every_steps == 0
        every = self.settings.validate_every
        before = self._epoch() - self.settings.grad_accum_steps / len(self.train_loader)
        if at.batch >= len(self.train_loader):  # the epoch's last group may be a smaller one
            rest = len(self.train_loader) % self.settings.grad_accum_steps or self.settings.grad_accum_steps
            before = self._epoch() - rest / len(self.train_loader)
        return math.floor(self._epoch() / every + 1e-9) > math.floor(before / every + 1e-9)

    def _saving_due(self) -> bool:
        minutes = self.settings.save_every_minutes
        return minutes is not None and time.monotonic() - self._saved_at > 60 * minutes

    def _is_better(self, row: dict[str, float]) -> bool:
        """By the monitored metric; ties go to the lower validation loss. A network that diverged is never better."""

        def key(r: dict[str, float]) -> tuple[float, float]:
            return monitored(self.monitor).merit(r[self.monitor]), -r["val/loss"]

        if not math.isfinite(row["val/loss"]):
            return False
        return not self.position.best or key(row) > key(self.position.best)

    def _stop_if_stuck(self) -> None:
        streak = self.meter.streak()
        if streak >= self.settings.max_nonfinite_steps:
            last = self.checkpoints.last
            kept = f"The last checkpoint is kept: {last}." if last.is_file() else "There was no checkpoint yet."
            raise TrainingError(
                f"The loss or its gradient was not finite for {streak} steps in a row (the last at step "
                f"{self.position.step}); none of them changed a weight. Lower optimizer.lr, set "
                f"trainer.grad_clip_norm, or use trainer.precision=fp32. {kept}"
            )

    def _machine_metrics(self, progress: TrainProgress) -> dict[str, float]:
        rate = {"train/images_per_second": progress.images_per_second}
        if self.precision.device.type == "cuda":
            rate["system/gpu_memory_peak_gb"] = torch.cuda.max_memory_allocated() / 1e9
            torch.cuda.reset_peak_memory_stats()
        return rate

    # ---- state -----------------------------------------------------------------------------------------------------

    def _save(self, also_as: list[str]) -> None:
        for step, values in self.meter.take_curve():
            self.tracker.log_metrics(values, step)
        # The checkpoint carries the numbers that are not sent yet: a kill before `flush` loses none of them.
        self.checkpoints.save(self.state_dict(), also_as)
        self.tracker.flush()
        self._saved_at = time.monotonic()

    def _interrupt(self, signal: Any) -> None:
        self._save([])
        raise Interrupted(
            f"Stopped by {signal.name} after step {self.position.step} of {self.total_steps}; all is saved. Go on "
            f"with:\n  {self.resume_hint}",
            exit_code=128 + signal.value,
        )

    def state_dict(self) -> dict[str, Any]:
        """Everything that a bit-equal continuation needs, as tensors and plain values."""
        cuda = self.precision.device.type == "cuda"
        return {
            "model": self.model.state_dict(),
            "average": self.average.state_dict() if self.average is not None else None,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "position": vars(self.position),
            "fingerprints": self.fingerprints,
            "batches_per_epoch": len(self.train_loader),
            "early_stopping": self.early_stopping.state_dict(),
            "lowest": self.checkpoints.lowest,
            "meter": self.meter.state_dict(),
            "buffers": self.buffers.state_dict(),
            "rng": {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if cuda else None},
            "tracker": {"run_id": self.tracker.run_id, **self.tracker.state_dict()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave.

        Raises
        ------
        CheckpointError
            It was trained on other images.
        """
        changed = [name for name, value in self.fingerprints.items() if state["fingerprints"].get(name) != value]
        if changed:
            raise CheckpointError(
                f"The run cannot go on: its {' and '.join(changed)} split now holds other images than when it was "
                "stopped. Bring back the data set and the split settings it began with, or start a new run."
            )
        if state["batches_per_epoch"] != len(self.train_loader):
            raise CheckpointError(
                f"The run cannot go on: its epochs had {state['batches_per_epoch']} batches and now have "
                f"{len(self.train_loader)}. Bring back the settings it began with, or start a new run."
            )
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"The checkpoint is of another network than this one: {reason}.") from error
        if self.average is not None and state["average"] is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state["scaler"])
        self.position = TrainState(**state["position"])
        self.early_stopping.load_state_dict(state["early_stopping"])
        if self.position.finished:  # more epochs or more patience than before: it is not the end any more
            at_end = self.position.step >= self.total_steps
            self.position.stopped_early = not at_end and self.early_stopping.is_over(self._epoch())
            self.position.finished = at_end or self.position.stopped_early
        self.checkpoints.lowest = [(loss, name) for loss, name in state["lowest"]]
        self.meter.load_state_dict(state["meter"])
        self.buffers.load_state_dict(state["buffers"])
        self.tracker.load_state_dict(state["tracker"])
        torch.set_rng_state(state["rng"]["cpu"])
        if state["rng"]["cuda"] is not None and self.precision.device.type == "cuda":
            torch.cuda.set_rng_state(state["rng"]["cuda"])
        log.info("Resumed after step %d of %d.", self.position.step, self.total_steps)


def planned_steps(settings: TrainerSettings, batches_per_epoch: int) -> int:
    """Optimizer steps of a whole run: the last group of an epoch may hold fewer batches than `accumulate`."""
    steps = settings.epochs * math.ceil(batches_per_epoch / settings.grad_accum_steps)
    return steps if settings.max_steps is None else min(steps, settings.max_steps)
