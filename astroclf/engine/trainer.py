"""THE loop: augmented batches in, gradients, a step, now and then a validation and a checkpoint."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Any

import torch
from torch import nn

from astroclf.data.loader import Batch, BatchLoader
from astroclf.engine.checkpoint import CHECKPOINTS, CheckpointFolder
from astroclf.engine.early_stopping import EarlyStopping
from astroclf.engine.freezing import Freezing
from astroclf.engine.memory import MemoryPeaks
from astroclf.engine.meter import StepMeter
from astroclf.engine.progress import ExpectedTime, TrainProgress
from astroclf.engine.schedule import Schedule
from astroclf.engine.signals import StopRequest
from astroclf.engine.state import FiniteBuffers, TrainState, planned_steps, refuse_other_run
from astroclf.engine.training_step import BatchLoss, TrainingStep
from astroclf.errors import CheckpointError, Interrupted, TakenOver, TrainingError
from astroclf.evaluation.history import HISTORY_FILE, STEPS_FILE, write_history
from astroclf.evaluation.metrics import monitored
from astroclf.models.convolutions import Convolutions
from astroclf.models.precision import Precision
from astroclf.settings.training import TrainerSettings
from astroclf.tracking.tracker import Tracker
from astroclf.util.logs import log
from astroclf.util.ranks import ALONE, Agreement, Ranks

SHOWN = {  # what is said of each validation, of what it has
    "train/loss": "train loss",
    "val/loss": "val loss",
    "val/accuracy": "accuracy",
    "val/macro_f1": "macro F1",
    "val/effective_rank": "effective rank",
    "val/knn_accuracy": "kNN accuracy",
}
ACTIVITIES = "training", "validation"  # whose time is kept; saving counts as the latter
CURVE_POINTS = 2000  # of the step-by-step curves that a whole run logs


@dataclass
class FitResult:
    """What a training came to, beside its checkpoints."""

    best: dict[str, float]  # the history row of the best validation
    steps: int
    skipped_steps: int
    images_per_second: float
    data_wait_fraction: float
    seconds: dict[str, float]  # in training itself, and in validations and saving beside it
    earlier_seconds: float  # of these, in earlier processes, before the run was gone on with
    stopped_early: bool
    memory_peaks: dict[str, float]  # in GB; of this process alone, as the rates are


class Trainer:
    """The training of a model: what it learns from, how, and where it stands.

    Parameters
    ----------
    model : nn.Module
        Already on `precision.device`, in channels_last if `settings` say so. Returns what `criterion` takes.
    criterion : BatchLoss
        What is minimised.
    train : BatchLoader
    validate : callable
        Measures a model, which may be the moving average: at least its ``loss``, and what `monitor` names.
    optimizer : torch.optim.Optimizer
    schedule : Schedule
    precision : Precision
    settings : TrainerSettings
    folder : Path
        The run folder.
    tracker : Tracker
    monitor : str
        Column of the history that chooses the best checkpoint, such as ``val/accuracy``.
    resume_hint : str
        The command that goes on with this run, for messages.
    fingerprints : dict of str
        Of the images of each split: a checkpoint goes on only with the same ones.
    description : mapping, optional
        What the model is, in plain values and tensors: it stands in every checkpoint, for whoever loads one.
    on_validation : callable, optional
        Called after each validation, once all is saved, with the history (a row a validation) and whether training is
        over; and when a training goes on, since it may have been killed before that. What it raises ends the training.
    before_save : callable, optional
        Called before anything is written or sent. What it raises ends the training with the files as they were.
    freezing : Freezing, optional
        Which parts of the model do not train in which steps.
    convolutions : Convolutions, optional
        How they are computed, where torch is not to decide that alone.
    validation_images : int
        How many images `validate` looks at, for the time that all is expected to take.
    ranks : Ranks
        The processes that share the training, each with its own `train` and `validate`: `train` makes parts of the same
        batches, and `validate` gives the same figures in all. The first one alone writes and records.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: BatchLoss,
        train: BatchLoader,
        validate: Callable[[nn.Module], dict[str, float]],
        optimizer: torch.optim.Optimizer,
        schedule: Schedule,
        precision: Precision,
        settings: TrainerSettings,
        folder: Path,
        tracker: Tracker,
        monitor: str = "val/accuracy",
        resume_hint: str = "",
        fingerprints: dict[str, str] | None = None,
        description: Mapping[str, Any] | None = None,
        on_validation: Callable[[list[dict[str, float]], bool], None] | None = None,
        before_save: Callable[[], None] | None = None,
        freezing: Freezing | None = None,
        convolutions: Convolutions | None = None,
        validation_images: int = 0,
        ranks: Ranks = ALONE,
    ) -> None:
        self.model, self.criterion, self.train_loader, self.validate = model, criterion, train, validate
        self.optimizer, self.schedule, self.precision, self.settings = optimizer, schedule, precision, settings
        self.folder, self.tracker = folder, tracker
        self.monitor, self.resume_hint, self.fingerprints = monitor, resume_hint, fingerprints or {}
        self.description = description or {}
        self.on_validation, self.before_save, self.freezing = on_validation, before_save, freezing
        self.validation_images, self.ranks = validation_images, ranks
        self.training_step = TrainingStep(model, criterion, optimizer, precision, settings, convolutions, ranks)
        self.ema = self.training_step.ema
        self.early_stopping = EarlyStopping(settings.patience)
        self.checkpoints = CheckpointFolder(folder / CHECKPOINTS, settings.keep_lowest_loss)
        self.state = TrainState()
        self.total_steps = planned_steps(settings, len(train))
        self.meter = StepMeter(precision.device, max(1, self.total_steps // CURVE_POINTS), ranks)
        self.finite_buffers = FiniteBuffers(model)
        self.memory = MemoryPeaks(precision.device)
        self._saved_at = time.monotonic()
        self._earlier = dict.fromkeys(ACTIVITIES, 0.0)  # seconds, in the processes before this one
        self._progress: TrainProgress | None = None

    def fit(self) -> FitResult:
        """Train from where `state` stands to the end, or until early stopping.

        Raises
        ------
        Interrupted
            Ctrl-C or SIGTERM came; the state is saved.
        TrainingError
            The loss stays non-finite, or the device is out of memory.
        """
        waited = self.train_loader.data_wait_seconds
        bar = TrainProgress(self.total_steps, self.settings.epochs, self.state.step)
        with StopRequest() as stop, bar as progress:
            self._progress = progress
            try:
                with self.ranks.saying_who_is_lost(self._how_to_go_on):
                    self._run(stop, progress)
            except torch.OutOfMemoryError as error:
                raise TrainingError(
                    f"The GPU ran out of memory at trainer.batch_size={self.settings.batch_size}. Halve it and double "
                    "trainer.grad_accum_steps for the same optimizer steps, or set backbone.grad_checkpointing=true. "
                    f"The last checkpoint is kept in {self.checkpoints.folder}."
                ) from error
        if not self.state.best:
            raise TrainingError(
                f"No validation in {self.state.step} steps gave a finite loss: there is no model to keep. Lower "
                "optimizer.lr, set trainer.grad_clip_norm, or use trainer.precision=fp32, and start a new run."
            )
        waited = self.train_loader.data_wait_seconds - waited
        return FitResult(
            best=self.state.best,
            steps=self.state.step,
            skipped_steps=self.meter.skipped_steps(),
            images_per_second=progress.images_per_second if progress.images else math.nan,
            data_wait_fraction=waited / progress.seconds,
            seconds=self._seconds(),
            earlier_seconds=sum(self._earlier.values()),
            stopped_early=self.state.stopped_early,
            memory_peaks=self.memory.highest,
        )

    def _run(self, stop: StopRequest, progress: TrainProgress) -> None:
        state, every = self.state, self.settings.grad_accum_steps
        if self.on_validation is not None and state.history:  # resumed: a kill may have come before this call
            self.on_validation(state.history, state.finished)
        self.model.train()
        expected, agreement = self._expected_time(), Agreement(self.ranks)
        while not state.finished:
            if state.step >= self.total_steps:  # a run of no steps, or one whose end was set to where it stands
                self._validate(progress, last=True)
                break
            group: list[Batch] = []
            with closing(self.train_loader.epoch(state.epoch, start=state.batch)) as batches:
                for batch in batches:
                    group.append(batch)
                    state.batch += 1
                    if len(group) < every and state.batch < len(self.train_loader):
                        continue
                    loss = self._step(group)
                    progress.images += sum(b.images for b in group)
                    group = []

                    if told := expected.told(state.step, progress.seconds):
                        log.info("%s", f"{told} {self.memory.told()}".rstrip())
                    with progress.aside():
                        last = state.step >= self.total_steps
                        if last or self._validation_due():
                            self._validate(progress, last)
                        # What processes that share a training see at different times, all answer in the same step.
                        signal, due, saving = agreement.on(
                            stop.signal or 0,
                            self.ranks.leads and progress.due(),
                            self._saving_due(),
                            at_once=state.finished,
                        )
                        if due:
                            progress.show(state.step, self._epoch(), self.schedule.lr(state.step), loss.item)
                            self._stop_if_stuck()
                        if signal:
                            self._interrupt(Signals(signal))
                        if state.finished:
                            return
                        if saving:
                            self._save([])
            state.epoch, state.batch = state.epoch + 1, 0

    def _step(self, group: list[Batch]) -> torch.Tensor:
        """Take one optimizer step over the images of `group`; return their mean loss, still on the device."""
        state = self.state
        lr = self.schedule.apply(self.optimizer, state.step)
        if self.freezing is not None:
            self.freezing.apply(state.step)
        taken = self.training_step.take(group)
        self.meter.add(state.step, lr, taken.sums, taken.images, taken.norm)
        state.step += 1
        return taken.loss

    def _validate(self, progress: TrainProgress, last: bool) -> None:
        """Measure on the validation images, log, decide about best and early stopping, save."""
        state = self.state
        self._stop_if_stuck()
        self.finite_buffers.restore()
        self._share_statistics()
        model = self.ema.model() if self.ema is not None else self.model
        metrics = self.validate(model)

        row: dict[str, float] = {
            "step": state.step,
            "epoch": self._epoch(),
            "lr": self.schedule.lr(max(state.step - 1, 0)),
            **self.meter.take_means(),
            **{f"val/{name}": value for name, value in metrics.items() if "/" not in name},
        }
        state.history.append(row)

        names = []
        if self._is_better(row):
            state.best = row
            names.append(self.checkpoints.best.name)
        if name := self.checkpoints.rank(row["val/loss"], state.step):
            names.append(name)
        epoch_ends = state.batch >= len(self.train_loader)
        if self.settings.keep_every and epoch_ends and (state.epoch + 1) % self.settings.keep_every == 0:
            names.append(f"epoch-{state.epoch + 1:04d}.pt")
        state.stopped_early = self.early_stopping.update(row["val/loss"], row["epoch"]) and not last
        state.finished = last or state.stopped_early

        of_machine = {
            "train/images_per_second": progress.images_per_second,
            **{f"system/{name}": peak for name, peak in self.memory.take().items()},
        }
        self.tracker.log_metrics({**row, **of_machine}, state.step)
        self.tracker.log_metrics({f"val/{k}": v for k, v in metrics.items() if "/" in k}, state.step)
        self.tracker.log_histograms(model, state.step)
        self._save(names)
        self._write_history()
        better = "  best so far" if state.best is row else ""
        said = "".join(f"  {label} {row[column]:.4f}" for column, label in SHOWN.items() if column in row)
        log.info("epoch %.2f%s%s", row["epoch"], said, better)
        if state.stopped_early:
            log.info("No lower validation loss for %g epochs: stopped early.", self.settings.patience)
        if self.on_validation is not None:
            self.on_validation(state.history, state.finished)

    def _expected_time(self) -> ExpectedTime:
        """Return how long it takes, a validation image costing a third of a training image: no backward pass."""
        steps = math.ceil(len(self.train_loader) / self.settings.grad_accum_steps)
        every = self.settings.validate_every_steps
        validations = steps / every if every else 1 / self.settings.validate_every  # an epoch
        images = len(self.train_loader.rows) * self.train_loader.views
        share = validations * self.validation_images / (3 * images)
        until = self.freezing.until if self.freezing is not None else math.inf
        return ExpectedTime(self.total_steps, steps, share, until)

    # ---- small questions -------------------------------------------------------------------------------------------

    def _epoch(self) -> float:
        """Count the epochs trained so far, with the fraction of the one under way."""
        return self.state.epoch + self.state.batch / len(self.train_loader)

    def _validation_due(self) -> bool:
        """Tell whether a validation falls on the step just taken; a pure function of the state."""
        state = self.state
        if self.settings.validate_every_steps:
            return state.step % self.settings.validate_every_steps == 0
        every = self.settings.validate_every
        before = self._epoch() - self.settings.grad_accum_steps / len(self.train_loader)
        if state.batch >= len(self.train_loader):  # the epoch's last group may be a smaller one
            rest = len(self.train_loader) % self.settings.grad_accum_steps or self.settings.grad_accum_steps
            before = self._epoch() - rest / len(self.train_loader)
        return math.floor(self._epoch() / every + 1e-9) > math.floor(before / every + 1e-9)

    def _seconds(self) -> dict[str, float]:
        """Return how long each of `ACTIVITIES` took up to now, in all processes one after the other."""
        now = (0.0, 0.0) if self._progress is None else (self._progress.seconds, self._progress.aside_seconds)
        return {name: self._earlier[name] + own for name, own in zip(ACTIVITIES, now, strict=True)}

    def _validated(self) -> bool:
        """Tell whether the newest validation is of the weights as they stand."""
        return bool(self.state.history) and self.state.history[-1]["step"] == self.state.step

    def _saving_due(self) -> bool:
        minutes = self.settings.save_every_minutes
        return minutes is not None and time.monotonic() - self._saved_at > 60 * minutes

    def _is_better(self, row: dict[str, float]) -> bool:
        """Compare with the best row by the monitored metric; ties go to the lower validation loss.

        A network that diverged is never better.
        """

        def key(r: dict[str, float]) -> tuple[float, float]:
            return monitored(self.monitor).merit(r[self.monitor]), -r["val/loss"]

        if not math.isfinite(row["val/loss"]):
            return False
        return not self.state.best or key(row) > key(self.state.best)

    def _stop_if_stuck(self) -> None:
        streak = self.meter.streak()
        if streak >= self.settings.max_nonfinite_steps:
            last = self.checkpoints.last
            kept = f"The last checkpoint is kept: {last}." if last.is_file() else "There was no checkpoint yet."
            raise TrainingError(
                f"The loss or its gradient was not finite for {streak} steps in a row (the last at step "
                f"{self.state.step}); none of them changed a weight. Lower optimizer.lr, set "
                f"trainer.grad_clip_norm, or use trainer.precision=fp32. {kept}"
            )

    # ---- state -----------------------------------------------------------------------------------------------------

    def _save(self, also_as: list[str]) -> None:
        if self.before_save is not None:
            self.before_save()
        if not self._validated():  # a validation has shared them
            self._share_statistics()
        for step, values in self.meter.take_curve():
            self.tracker.log_metrics(values, step)
            self.state.curve.append({"step": step, **values})
        # The checkpoint carries the numbers that are not sent yet: a kill before `flush` loses none of them.
        state = self.state_dict()
        if self.ranks.leads:
            self.checkpoints.save(state, also_as)
        self.tracker.flush()
        self._saved_at = time.monotonic()

    def _share_statistics(self) -> None:
        """Give the BatchNorm statistics of all processes, each of its own images, their mean."""
        self.ranks.mean_([*self.finite_buffers.buffers, *([self.ema.statistics] if self.ema is not None else [])])

    def _write_history(self) -> None:
        if not self.ranks.leads:
            return
        write_history(self.folder / HISTORY_FILE, self.state.history)
        write_history(self.folder / STEPS_FILE, self.state.curve)

    def _how_to_go_on(self) -> str:
        """Say what to type after a failure that is none of the training's own."""
        if not self.checkpoints.last.is_file():
            return "There was no checkpoint yet."
        return f"torchrun --max-restarts=3 goes on by itself; by hand, from the last checkpoint:\n  {self.resume_hint}"

    def _interrupt(self, signal: Signals) -> None:
        with suppress(TakenOver):  # nothing to save here, then; but to stop is what was asked for
            self._save([])
        raise Interrupted(
            f"Stopped by {signal.name} after step {self.state.step} of {self.total_steps}; all is saved. Go on "
            f"with:\n  {self.resume_hint}",
            exit_code=128 + signal.value,
        )

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a bit-equal continuation needs, as tensors and plain values."""
        convolutions = self.training_step.convolutions
        own, *others = self.ranks.gather(self._random_states())
        return {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict() if self.ema is not None else None,
            "optimizer_step": self.training_step.optimizer_step.state_dict(),
            "train_state": vars(self.state),
            "description": self.description,
            "fingerprints": self.fingerprints,
            "batches_per_epoch": len(self.train_loader),
            "early_stopping": self.early_stopping.state_dict(),
            "lowest": self.checkpoints.lowest,
            "meter": self.meter.state_dict(),
            "finite_buffers": self.finite_buffers.state_dict(),
            "convolutions": convolutions.choices if convolutions is not None else {},
            "seconds": self._seconds(),
            "rng": own,
            "rng_of_others": others,
            "tracker": {"run_id": self.tracker.run_id, **self.tracker.state_dict()},
        }

    def _random_states(self) -> dict[str, torch.Tensor | None]:
        cuda = self.precision.device.type == "cuda"
        return {"cpu": torch.get_rng_state(), "cuda": torch.cuda.get_rng_state() if cuda else None}

    def _set_random_states(self, states: Mapping[str, torch.Tensor | None]) -> None:
        if states["cpu"] is not None:
            torch.set_rng_state(states["cpu"])
        if states["cuda"] is not None and self.precision.device.type == "cuda":
            torch.cuda.set_rng_state(states["cuda"])

    def resume(self, checkpoint: Path, saved: dict[str, Any]) -> None:
        """Take up a checkpoint of this run, with its files as they were then.

        Raises
        ------
        CheckpointError
            As `load_state_dict`, or the best weights up to that point are no longer kept.
        """
        self.load_state_dict(saved)
        if self.ranks.leads:
            self.checkpoints.go_on_from(checkpoint, saved)
        if self.state.history:  # a kill after the last checkpoint may have come before its row
            self._write_history()

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up a state that `state_dict` gave.

        Raises
        ------
        CheckpointError
            It is of another network, or as `refuse_other_run`.
        """
        refuse_other_run(saved, self.fingerprints, len(self.train_loader), self.settings)
        try:
            self.model.load_state_dict(saved["model"])
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(f"The checkpoint is of another network than this one: {reason}.") from error
        if self.ema is not None and saved["ema"] is not None:
            self.ema.load_state_dict(saved["ema"])
        self.training_step.optimizer_step.load_state_dict(saved["optimizer_step"])
        self.state = TrainState(**saved["train_state"])
        self.early_stopping.load_state_dict(saved["early_stopping"])
        at_end = self.state.step == self.total_steps and self._validated()
        if self.state.finished:  # more patience than before: it is not the end any more
            self.state.stopped_early = not at_end and self.early_stopping.is_over(self._epoch())
        self.state.finished = at_end or (self.state.finished and self.state.stopped_early)
        lowest = [(loss, name) for loss, name in saved["lowest"]]
        self.checkpoints.lowest = lowest[: self.settings.keep_lowest_loss]
        self.meter.load_state_dict(saved["meter"])
        self.finite_buffers.load_state_dict(saved["finite_buffers"])
        self.tracker.load_state_dict(saved["tracker"])
        if self.training_step.convolutions is not None:
            self.training_step.convolutions.choices = dict(saved["convolutions"])
        self._earlier |= saved.get("seconds", {})  # which checkpoints of before November 2026 have not
        states = [saved["rng"], *saved.get("rng_of_others", [])]
        if self.ranks.rank < len(states):
            self._set_random_states(states[self.ranks.rank])
        log.info("Resumed after step %d of %d.", self.state.step, self.total_steps)
