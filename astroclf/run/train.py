"""One experiment from a typed config to a registered model: builds every part, lets it run, keeps the results."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from filelock import FileLock, Timeout
from omegaconf import OmegaConf

from astroclf.config.build import build
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.ema import parameter_groups
from astroclf.engine.signals import Terminated, terminable
from astroclf.engine.trainer import FitResult, Trainer, planned_steps
from astroclf.errors import CheckpointError, Interrupted, Pruned
from astroclf.evaluation.inference import evaluate
from astroclf.evaluation.predictions import read_metrics, write_metrics
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Classifier
from astroclf.models.precision import Precision, choose_device, choose_precision, make_deterministic
from astroclf.models.summary import model_summary
from astroclf.run.data import Data, load_data
from astroclf.run.finish import Records, draw_augmented, environment, git_commit
from astroclf.run.folder import first_command, resume_command, resumed_run, shown_path
from astroclf.settings.schema import Config
from astroclf.tracking.database import ensure_database
from astroclf.util.atomic import write_text

if TYPE_CHECKING:
    from astroclf.tracking.none import NullTracker

log = logging.getLogger("astroclf")


class ProcessCache:
    """What the runs of one process share: the data set that was loaded last, and its pixels on the device."""

    def __init__(self) -> None:
        self._loaded: tuple[dict[str, Any], Data] | None = None
        self._pixels: tuple[tuple[Any, ...], PixelBuffer] | None = None

    def data(self, config: Config) -> Data:
        """`load_data`, unless it is what was loaded last."""
        if self._loaded is None or self._loaded[0] != config.dataset.options:
            self._loaded = self._pixels = None  # free before the next takes its place
            self._loaded = config.dataset.options, load_data(config)
        return self._loaded[1]

    def pixels(self, data: Data, keep_images_on: str, device: torch.device) -> PixelBuffer:
        """The decoded images where `keep_images_on` says, moved there once."""
        key = (data.store.path, keep_images_on, device)
        if self._pixels is None or self._pixels[0] != key:
            self._pixels = None
            self._pixels = key, PixelBuffer(data.store.images, keep_images_on, device)
        return self._pixels[1]


@dataclass(frozen=True)
class Trial:
    """What a sweep adds to a run, which is then trained and validated, but neither tested nor registered.

    Attributes
    ----------
    run_id
        The MLflow run of an earlier start that was killed before it had a checkpoint.
    parent_run_id
        The sweep's MLflow run.
    tags
        Of the MLflow run.
    on_validation
        See `Trainer`; raises `Pruned` to give the trial up.
    """

    run_id: str | None = None
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    on_validation: Callable[[list[dict[str, float]], bool], None] | None = None


class Experiment:
    """One run.

    Parameters
    ----------
    config : Config
    folder : str or Path
        The run folder; made where it does not exist.
    command : str
        What the user typed, for the records.
    workspace : ProcessCache, optional
        Of a process that runs several experiments.
    trial : Trial, optional
        For a run that is part of a sweep. Resumed without it, the run is tested, recorded and registered.
    """

    def __init__(
        self,
        config: Config,
        folder: str | Path,
        command: str,
        *,
        workspace: ProcessCache | None = None,
        trial: Trial | None = None,
    ) -> None:
        self.config, self.workspace, self.trial = config, workspace or ProcessCache(), trial
        self.folder = shown_path(resumed_run(config.resume)[0] if config.resume else Path(folder))
        self.typed_command = command
        self.command = first_command(self.folder) if config.resume else command

    def run(self) -> dict[str, float]:
        """Train (or go on training), test, record, register; returns the metrics of the best validation.

        Raises
        ------
        AstroclfError
            Whatever a user can cause; what was written before is kept, and the MLflow run is closed.
        """
        if self.config.resume and (metrics := self._complete()):
            log.info("%s is complete (it has its metrics.json): nothing is left to do.", self.folder)
            return metrics
        with self._alone(), terminable():
            try:
                return self._run()
            except KeyboardInterrupt as stop:
                number = stop.signal if isinstance(stop, Terminated) else signal.SIGINT
                saved = (self.folder / "checkpoints" / "last.pt").is_file()
                hint = f" Go on with:\n  {resume_command(self.folder)}" if saved else " Nothing was trained yet."
                raise Interrupted(f"Stopped by {number.name}.{hint}", 128 + number) from None

    def _complete(self) -> dict[str, Any] | None:
        """The metrics of a run that has nothing left to do: trained, and tested unless it is a trial of a sweep."""
        metrics = read_metrics(self.folder / "metrics.json")
        return metrics if metrics and (self.trial is not None or "test/accuracy" in metrics) else None

    def _run(self) -> dict[str, float]:
        started = time.monotonic()
        config, options = self.config, self.config.dataset.options
        checkpoint = load_checkpoint(resumed_run(config.resume)[1]) if config.resume else None
        device = choose_device(config.trainer.device)
        precision = choose_precision(config.trainer.precision, device)
        make_deterministic(config.trainer.deterministic)
        torch.manual_seed(config.seed)
        # What may not be had comes first: nobody waits for a data set to be decoded to hear that weights or database
        # are missing.
        if uri := config.tracking.options.get("uri"):
            ensure_database(uri)
        weights: dict[str, Any] = {} if checkpoint is None else {"weights": None}
        input_size, channels = config.augment.options.get("output_size") or options["image_size"], options["channels"]
        backbone = build(config.backbone, image_size=input_size, channels=channels, **weights)

        data = self.workspace.data(config)
        counts = data.store.table.class_counts(data.splits.train)
        loss = build(config.loss, class_counts=counts.tolist())
        criterion = Criterion(loss, config.head.uncertainty_weight).to(device)
        classifier = self._classifier(backbone, data.classes, loss)
        if checkpoint is None:
            self._write_config()
        if self.trial is None and not (self.folder / "model.txt").is_file():
            write_text(self.folder / "model.txt", model_summary(classifier, input_size, channels))
        self._greet(data, classifier, precision)

        streams = self._streams(data, precision)
        tracker = self._tracker(data, device, checkpoint)
        status = "FAILED"
        try:
            trainer = self._trainer(classifier, criterion, streams, precision, data, tracker)
            if checkpoint is not None:
                self._take_up(trainer, checkpoint)
            else:
                tracker.log_artifact(self.folder / "config.yaml")
            self._draw_augmented(data, streams["train"])
            fitted = trainer.fit()
            if self.trial is None:
                self._test(trainer, classifier, streams["test"], data, fitted, tracker, started)
            status = "FINISHED"
        except Pruned:
            status = "KILLED"
            tracker.set_tags({"pruned": "true"})
            raise
        except (Interrupted, KeyboardInterrupt):
            status = "KILLED"
            raise
        finally:
            for path in self.folder.glob("*.log"):
                tracker.log_artifact(path)
            tracker.close(status)
        if self.trial is not None:  # last: one that has it is not looked at again, and its MLflow run must be closed
            write_metrics(self.folder / "metrics.json", self._trained(trainer, fitted, data, tracker, started))
        return self._complete() or {}

    def _draw_augmented(self, data: Data, train: BatchLoader) -> None:
        """What the network sees; a sweep's hundred trials need not draw it a hundred times."""
        sheet = self.folder / "plots" / "augmented.png"
        if self.trial is None and not sheet.is_file():
            draw_augmented(data.store, data.splits.train, train.augmentation, self.config.seed, sheet)

    def _take_up(self, trainer: Trainer, checkpoint: dict[str, Any]) -> None:
        """Put the trainer where the checkpoint stood."""
        trainer.load_state_dict(checkpoint)
        at = trainer.position
        assert self.config.resume is not None
        if resumed_run(self.config.resume)[1] != trainer.checkpoints.last and at.best:
            trainer.checkpoints.restore_best(int(at.best["step"]))
        self._write_config()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No second process in this run folder: a run that was put in a queue twice would write over itself."""
        lock = FileLock(self.folder / ".lock", timeout=0)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout:
            raise CheckpointError(f"Another process is working in {self.folder}. Wait for it, or stop it.") from None
        except OSError as error:
            raise CheckpointError(f"The run folder {self.folder} cannot be written to: {error.strerror}.") from error
        try:
            yield
        finally:
            lock.release()

    # ---- the parts, from config ------------------------------------------------------------------------------------

    def _classifier(self, backbone: torch.nn.Module, classes: tuple[str, ...], loss: torch.nn.Module) -> Classifier:
        head = self.config.head
        classifier = Classifier(
            backbone,
            len(classes),
            refinement=head.refinement,
            attention=head.attention,
            uncertainty=head.uncertainty,
            hidden=head.hidden,
            dropout=head.dropout,
        )
        bias = loss.initial_bias(len(classes))  # type: ignore[operator]
        if bias is not None:
            classifier.set_output_bias(bias)
        return classifier

    def _streams(self, data: Data, precision: Precision) -> dict[str, BatchLoader]:
        config, store = self.config, data.store
        augmentation = build(config.augment)
        pixels = self.workspace.pixels(data, config.dataset["keep_images_on"], precision.device)
        return {
            name: BatchLoader(
                pixels,
                store.table.labels,
                getattr(data.splits, name),
                batch_size=config.trainer.batch_size,
                augmentation=augmentation,
                seed=config.seed,
                train=name == "train",
                num_workers=config.trainer.num_workers,
            )
            for name in ("train", "val", "test")
        }

    def _tracker(self, data: Data, device: torch.device, checkpoint: dict[str, Any] | None) -> NullTracker:
        config, trial = self.config, self.trial or Trial()
        return build(
            config.tracking,
            run_name=config.tracking.options.get("run_name") or self.folder.name,
            run_id=checkpoint["tracker"]["run_id"] if checkpoint is not None else trial.run_id,
            parent_run_id=trial.parent_run_id,
            params=config.plain,
            tags={
                "command": self.command,
                **({"resume.command": self.typed_command} if checkpoint is not None else {}),
                "git_commit": git_commit(),
                "run_folder": str(self.folder.absolute()),
                **trial.tags,
                **data.fingerprints,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
            },
            tensorboard_dir=self.folder / "tensorboard",
            resume_step=checkpoint["position"]["step"] + 1 if checkpoint is not None else None,
        )

    def _trainer(
        self,
        classifier: Classifier,
        criterion: Criterion,
        streams: dict[str, BatchLoader],
        precision: Precision,
        data: Data,
        tracker: NullTracker,
    ) -> Trainer:
        config, settings = self.config, self.config.trainer
        memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        classifier.to(device=precision.device, memory_format=memory_format)  # type: ignore[call-overload]
        if settings.compile:
            classifier.compile()
        decay = config.optimizer.options.get("weight_decay", 0.0)
        # Fused optimizers skip a non-finite step on the device; one without the option asks the host at each step.
        optimizer = build(config.optimizer, params=parameter_groups(classifier, decay), fused=True)
        steps = planned_steps(settings, len(streams["train"]))
        return Trainer(
            classifier,
            criterion,
            streams["train"],
            streams["val"],
            optimizer,
            build(config.scheduler, peak_lr=config.optimizer["lr"], total_steps=steps),
            precision,
            settings,
            data.classes,
            self.folder,
            tracker,
            monitor=config.monitor,
            resume_hint=resume_command(self.folder),
            fingerprints=data.splits.fingerprints,
            on_validation=self.trial.on_validation if self.trial is not None else None,
        )

    # ---- records ---------------------------------------------------------------------------------------------------

    def _test(
        self,
        trainer: Trainer,
        classifier: Classifier,
        test: BatchLoader,
        data: Data,
        fitted: FitResult,
        tracker: NullTracker,
        started: float,
    ) -> None:
        """The best weights on the test images, once, and the records of it."""
        criterion, precision = trainer.criterion, trainer.precision
        state = load_checkpoint(trainer.checkpoints.best)
        if state["position"]["step"] != fitted.best["step"]:
            raise CheckpointError(
                f"{trainer.checkpoints.best} is of step {state['position']['step']}, but the best validation was at "
                f"step {fitted.best['step']}: something else wrote there. Nothing was tested or registered."
            )
        weights = state["model"] if state["average"] is None else state["average"]["model"]
        classifier.load_state_dict(weights)
        evaluation = evaluate(classifier, criterion, test, precision, tta_views=self.config.evaluation.tta_views)
        metrics: dict[str, Any] = {
            **{f"test/{name}": value for name, value in evaluation.metrics(data.classes).items()},
            "test/images": len(evaluation.rows),
            **self._trained(trainer, fitted, data, tracker, started),
        }
        facts = {
            **environment(precision.device),
            "precision": precision.name,
            **data.fingerprints,
            "run_folder": str(self.folder.absolute()),
            "mlflow_run": tracker.run_id or "none",
        }
        records = Records(self.config, self.folder, data.store, tracker, facts, self.command)
        records.write(evaluation, metrics, weights, str(criterion.loss.activation))

    def _trained(
        self, trainer: Trainer, fitted: FitResult, data: Data, tracker: NullTracker, started: float
    ) -> dict[str, Any]:
        """What metrics.json says of the training."""
        return {
            **{name: value for name, value in fitted.best.items() if name.startswith("val/")},
            "model/parameters": sum(parameter.numel() for parameter in trainer.model.parameters()),
            "train/steps": fitted.steps,
            "train/best_step": fitted.best["step"],
            "train/skipped_steps": fitted.skipped_steps,
            "train/stopped_early": fitted.stopped_early,
            "train/images_per_second": fitted.images_per_second,
            "train/data_wait_fraction": fitted.data_wait_fraction,
            "run/seconds": time.monotonic() - started,
            "run/mlflow_id": tracker.run_id or "",
            **{f"run/{name}": value for name, value in data.fingerprints.items()},
        }

    def _write_config(self) -> None:
        plain = {**self.config.plain, "resume": None}
        write_text(self.folder / "config.yaml", f"# {self.command}\n{OmegaConf.to_yaml(OmegaConf.create(plain))}")

    def _greet(self, data: Data, classifier: Classifier, precision: Precision) -> None:
        splits, parameters = data.splits, sum(p.numel() for p in classifier.parameters())
        log.info(
            "%s: %d training, %d validation, %d test images of %d classes",
            self.config.dataset["name"], len(splits.train), len(splits.val), len(splits.test), len(data.classes),
        )  # fmt: skip
        log.info(
            "%.1f M parameters, %s on %s; run folder %s",
            parameters / 1e6,
            precision.name,
            precision.device,
            self.folder,
        )
