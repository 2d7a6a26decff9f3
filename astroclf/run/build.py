"""The parts of a run, built from its typed config: data, network, loss, loaders, record, trainer."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import nn

from astroclf.config.build import build
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.catalog import SPLITS
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.data.split.assign import split_fingerprint
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.engine.state import planned_steps, refuse_other_run
from astroclf.engine.trainer import Trainer
from astroclf.errors import ConfigError
from astroclf.losses.criterion import Criterion, takes_soft_labels
from astroclf.models.blocks import single_valued_norm
from astroclf.models.classifier import Classifier
from astroclf.models.network import NetworkSpec, build_network
from astroclf.models.precision import Precision, choose_device, choose_precision, make_deterministic
from astroclf.registry.owner import refuse_other_data_set
from astroclf.run.data import Data, load_data, soft_labels
from astroclf.run.environment import device_name
from astroclf.run.folder import RunFolder, resume_command
from astroclf.run.record import RecordContext, opened_record
from astroclf.run.rehearsal import check_record, try_record
from astroclf.settings.components import locate
from astroclf.settings.config import Config
from astroclf.settings.dataset import DatasetSettings, ImagePlace
from astroclf.tracking.tracker import Tracker
from astroclf.util.logs import log


class ProcessCache:
    """What the runs of one process share: the data set that was loaded last, and its pixels on the device."""

    def __init__(self) -> None:
        self._loaded: tuple[DatasetSettings, Data] | None = None
        self._pixels: tuple[tuple[Any, ...], PixelBuffer] | None = None

    def data(self, config: Config, once_listed: Callable[[], None] | None = None) -> Data:
        """Load the configured data set, unless it is what was loaded last; `once_listed` as for `load_data`."""
        if self._loaded is None or self._loaded[0] != config.dataset:
            self._loaded = self._pixels = None  # free before the next takes its place
            self._loaded = config.dataset, load_data(config, once_listed)
        elif once_listed is not None:
            once_listed()
        return self._loaded[1]

    def pixels(self, data: Data, keep_images_on: ImagePlace, device: torch.device) -> PixelBuffer:
        """Return the decoded images where `keep_images_on` says, moved there once."""
        key = (data.cache.path, keep_images_on, device)
        if self._pixels is None or self._pixels[0] != key:
            self._pixels = None
            self._pixels = key, PixelBuffer(data.cache.images, keep_images_on, device)
        return self._pixels[1]


@dataclass(frozen=True)
class TrialContext:
    """What a sweep adds to a run; without a sweep, nothing.

    Attributes
    ----------
    run_id
        The MLflow run of an earlier start that was killed before it had a checkpoint.
    parent_run_id
        The sweep's MLflow run.
    tags
        Of the MLflow run.
    before_save, on_validation
        See `Trainer`. They raise `TakenOver` where the trial is another process's, `Pruned` to give it up.
    name
        Of the MLflow run; None: see `run_name`.
    """

    run_id: str | None = None
    parent_run_id: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    before_save: Callable[[], None] | None = None
    on_validation: Callable[[list[dict[str, float]], bool], None] | None = None
    name: str | None = None


@dataclass(frozen=True)
class Run:
    """A run whose parts are built: nothing is left but to train and to record what comes of it.

    Attributes
    ----------
    command
        That began the run.
    spec
        What `network` is, without pretrained weights: enough to build it again.
    started
        `time.monotonic` when the run, or this continuation of it, began.
    """

    config: Config
    folder: RunFolder
    command: str
    data: Data
    network: Classifier
    loaders: Mapping[str, BatchLoader]
    trainer: Trainer
    tracker: Tracker
    spec: NetworkSpec
    started: float


@contextmanager
def opened_run(
    config: Config, folder: RunFolder, command: str, cache: ProcessCache, context: TrialContext
) -> Iterator[Run]:
    """Build a run, new or where its checkpoint stood, with an open record that ends as the block ends.

    Parameters
    ----------
    command
        What the user typed now; of a resumed run, the command that began it is kept with its files.

    Raises
    ------
    AstroclfError
        A part that cannot be had. What takes long comes last: nobody waits for a data set to be decoded to hear that
        weights or database are missing.
    """
    started, typed_command = time.monotonic(), command
    checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint is not None else None
    command = folder.command() if checkpoint is not None else command
    precision = choose_precision(config.trainer.precision, choose_device(config.trainer.device))
    make_deterministic(config.trainer.deterministic)
    torch.manual_seed(config.seed)
    if context.parent_run_id is None:  # else the sweep has done so
        check_record(config)
    input_size, channels = config.augment.output_size or config.dataset.image_size, config.dataset.channels
    weights: dict[str, Any] = {} if checkpoint is None else {"weights": None}
    backbone = build(config.backbone, image_size=input_size, channels=channels, **weights)
    spec = NetworkSpec(
        backbone={key: None if key == "weights" else value for key, value in config.backbone.to_plain().items()},
        num_classes=1,  # until the data set says how many
        image_size=input_size,
        channels=channels,
        head={name: value for name, value in vars(config.head).items() if name != "uncertainty_weight"},
    )
    if config.trainer.batch_size == 1:
        _refuse_single_values(spec, backbone)
    augmentation = build(config.augment)
    if config.loss.soft_labels and not takes_soft_labels(locate("loss", config.loss.target)):
        raise ConfigError(
            f"loss.soft_labels=true: {config.loss.target} takes no soft labels: its forward has no `targets_BC`. "
            "Choose another loss, or leave loss.soft_labels out."
        )

    data = cache.data(config, (lambda: try_record(config)) if context.parent_run_id is None else None)
    if config.trainer.max_eval_batches is not None:
        data = data.shortened(config.trainer.max_eval_batches * config.trainer.batch_size)
    spec = replace(spec, num_classes=len(data.classes))
    loss = build(config.loss, class_counts=data.cache.catalog.class_counts(data.splits.train).tolist())
    criterion = Criterion(loss, config.head.uncertainty_weight).to(precision.device)
    network = build_network(spec, backbone=backbone, output_bias=loss.initial_bias(spec.num_classes))
    if checkpoint is None:
        _refuse_shared_name(config, data)
        folder.write_config(config.to_plain(), command)
    _greet(config, folder, data, network, precision)
    loaders = _loaders(config, data, cache, augmentation, precision)
    tags = {**context.tags, "device": device_name(precision.device)}
    record = RecordContext(context.name, context.run_id, context.parent_run_id)
    if checkpoint is not None:
        # Before the record is opened: a change that is refused leaves no trace there.
        refuse_other_run(checkpoint, _contents(config, data), len(loaders["train"]), config.trainer)
        tags["resume.command"] = typed_command
        record = replace(
            record, run_id=checkpoint["tracker"]["run_id"], resume_step=checkpoint["train_state"]["step"] + 1
        )
    with opened_record(config, folder, data, command, tags, record) as tracker:
        trainer = _trainer(config, folder, network, criterion, loaders, precision, data, tracker, context)
        if checkpoint is None:
            tracker.log_artifact(folder.config_file)
        else:
            assert folder.checkpoint is not None
            trainer.resume(folder.checkpoint, checkpoint)
            folder.write_config(config.to_plain(), command)
        yield Run(config, folder, command, data, network, loaders, trainer, tracker, spec, started)


def _refuse_single_values(spec: NetworkSpec, backbone: nn.Module) -> None:
    """Refuse batches of one image where BatchNorm cannot take a variance over them.

    Larger batches never come to this: a split has at least two classes, and the rest of an epoch is left out.
    """
    with torch.random.fork_rng(devices=[]):  # the heads of this network are not those that will be trained
        layer = single_valued_norm(build_network(spec, backbone=backbone), spec.image_size, spec.channels)
    if layer is not None:
        head = layer.startswith("refinement.")
        other = "head.refinement=false" if head else "a larger dataset.image_size or a backbone without BatchNorm"
        raise ConfigError(
            "trainer.batch_size=1 cannot train this network: BatchNorm takes the variance of each channel over the "
            f"batch, and one image gives its layer {layer} a single value of each. Take trainer.batch_size=2 or more "
            f"(trainer.grad_accum_steps adds batches up for one optimizer step), or {other}."
        )


def _loaders(
    config: Config, data: Data, cache: ProcessCache, augmentation: Augmentation, precision: Precision
) -> dict[str, BatchLoader]:
    place = config.dataset.keep_images_on
    if place == "auto" and _few_steps_read(config, data) < len(data.cache.images):
        place = "disk"  # elsewhere, all would be read to be put there
    pixels = cache.pixels(data, place, precision.device)
    return {
        name: BatchLoader(
            pixels,
            data.cache.catalog.labels,
            getattr(data.splits, name),
            batch_size=config.trainer.batch_size,
            augmentation=augmentation,
            seed=config.seed,
            train=name == "train",
            targets=soft_labels(data.cache.catalog, config.loss),
            num_workers=config.trainer.num_workers,
        )
        for name in SPLITS
    }


def _few_steps_read(config: Config, data: Data) -> float:
    """Return how many images a run of `max_steps` reads, with one validation and its test; others read all."""
    settings = config.trainer
    if settings.max_steps is None:
        return math.inf
    trained = settings.max_steps * settings.grad_accum_steps * settings.batch_size
    return trained + len(data.splits.val) + len(data.splits.test)


def _trainer(
    config: Config,
    folder: RunFolder,
    network: Classifier,
    criterion: Criterion,
    loaders: Mapping[str, BatchLoader],
    precision: Precision,
    data: Data,
    tracker: Tracker,
    context: TrialContext,
) -> Trainer:
    settings = config.trainer
    if data.whole is not None:  # whatever the recipe keeps: this is no training that anybody goes back to
        settings = replace(settings, keep_lowest_loss=0, keep_every=None)
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    network.to(device=precision.device, memory_format=memory_format)  # type: ignore[call-overload]
    if settings.compile:
        network.compile()
    decay = config.optimizer.weight_decay or 0.0
    # Fused optimizers skip a non-finite step on the device; one without the option asks the host at each step.
    optimizer = build(config.optimizer, params=parameter_groups(network, decay), fused=True)
    steps = planned_steps(settings, len(loaders["train"]))
    return Trainer(
        network,
        criterion,
        loaders["train"],
        loaders["val"],
        optimizer,
        build(config.scheduler, peak_lr=config.optimizer.lr, total_steps=steps),
        precision,
        settings,
        data.classes,
        folder.path,
        tracker,
        monitor=config.monitor,
        resume_hint=resume_command(folder.path),
        fingerprints=_contents(config, data),
        on_validation=context.on_validation,
        before_save=context.before_save,
    )


def _contents(config: Config, data: Data) -> dict[str, str]:
    """Return what of each split must be the same when the run is gone on with: its images, labels and soft labels."""
    prints, votes = data.splits.fingerprints, soft_labels(data.cache.catalog, config.loss)
    if votes is None:
        return prints
    texts = np.array([row.tobytes().hex() for row in votes])
    rows = {name: getattr(data.splits, name) for name in SPLITS}
    return {name: f"{prints[name]}-{split_fingerprint(texts[r], data.cache.digests[r])}" for name, r in rows.items()}


def _refuse_shared_name(config: Config, data: Data) -> None:
    """Refuse a name that was taken from the data set's folder where a model of another folder has it already."""
    dataset, tracking = config.dataset, config.tracking
    named = tracking.model_name or not dataset.is_named_after_its_place
    if config.registers and dataset.path and not named:
        refuse_other_data_set(str(tracking.uri), dataset.name, dataset.path, data.splits.fingerprints["test"])


def _called(config: Config) -> str:
    """Return the name of the data set, and where it comes from if nobody gave it."""
    after = " (called after its place: dataset.name gives another name)"
    return f"{config.dataset.name}{after if config.dataset.is_named_after_its_place else ''}"


def _greet(config: Config, folder: RunFolder, data: Data, network: Classifier, precision: Precision) -> None:
    splits, parameters = data.splits, sum(p.numel() for p in network.parameters())
    log.info(
        "%s: %d training, %d validation, %d test images of %d classes",
        _called(config), len(splits.train), len(splits.val), len(splits.test), len(data.classes),
    )  # fmt: skip
    if data.whole is not None:
        log.info(
            "Of validation and test, no more is looked at than trainer.max_eval_batches=%d: nothing is packaged or "
            "registered.", config.trainer.max_eval_batches,
        )  # fmt: skip
    log.info(
        "%.1f M parameters, %s on %s; run folder %s", parameters / 1e6, precision.name, precision.device, folder.path
    )
