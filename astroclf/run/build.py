"""One run, built from its typed config: its parts, its record, and the trainer that holds them together."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from astroclf.config.build import build
from astroclf.data.catalog import SPLITS
from astroclf.data.loader import BatchLoader
from astroclf.data.split.assign import split_fingerprint
from astroclf.engine.checkpoint import load_checkpoint
from astroclf.engine.state import planned_pixels, planned_steps, refuse_other_run
from astroclf.engine.trainer import Trainer
from astroclf.errors import CheckpointError
from astroclf.evaluation.forward import Validation
from astroclf.losses.criterion import Criterion
from astroclf.models.classifier import Classifier
from astroclf.models.compiling import compile_network
from astroclf.models.network import NetworkSpec
from astroclf.registry.owner import refuse_other_data_set
from astroclf.registry.pretrained import TEACHER, origin_in
from astroclf.run.data import Data, soft_labels
from astroclf.run.description import checkpoint_description
from astroclf.run.environment import device_name
from astroclf.run.folder import RunFolder, resume_command
from astroclf.run.parts import Parts, ProcessCache, build_parts
from astroclf.run.record import RecordContext, opened_record
from astroclf.run.rehearsal import check_record, try_record
from astroclf.settings.config import Config
from astroclf.tracking.none import NullTracker
from astroclf.tracking.tracker import Tracker
from astroclf.util.logs import log
from astroclf.util.ranks import ALONE, Ranks


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
    criterion: Criterion
    loaders: Mapping[str, BatchLoader]
    trainer: Trainer
    tracker: Tracker
    spec: NetworkSpec
    started: float


@contextmanager
def opened_run(
    config: Config,
    folder: RunFolder,
    command: str,
    cache: ProcessCache,
    context: TrialContext,
    ranks: Ranks = ALONE,
) -> Iterator[Run]:
    """Build a run, new or where its checkpoint stood, with an open record that ends as the block ends.

    Parameters
    ----------
    command
        What the user typed now; of a resumed run, the command that began it is kept with its files.
    ranks
        The processes that share the training: the first one alone writes and records.

    Raises
    ------
    AstroclfError
        A part that cannot be had. What takes long comes last: nobody waits for a data set to be decoded to hear that
        weights or database are missing.
    """
    started, typed_command = time.monotonic(), command
    # Its file may be on the first one's disk alone.
    checkpoint = ranks.from_first(lambda: load_checkpoint(folder.checkpoint) if folder.checkpoint is not None else None)
    if checkpoint is not None:
        command = ranks.from_first(folder.command)
    tries_record = context.parent_run_id is None and ranks.leads  # a sweep has tried it
    if tries_record:
        check_record(config.tracking)
    rehearsal = (lambda: try_record(config)) if tries_record else None
    parts = build_parts(config, cache, pretrained=checkpoint is None, once_listed=rehearsal, ranks=ranks)
    if checkpoint is not None:
        before = origin_in(checkpoint)
        if parts.origin.get(TEACHER[1]) != before.get(TEACHER[1]):
            raise CheckpointError(
                f"The run cannot go on: its teacher {before.get(TEACHER[0])} has other weights now than when it was "
                "stopped. Bring back the model, or start a new run."
            )
        parts = replace(parts, origin=before)
    config, data, loaders = parts.config, parts.data, parts.loaders
    if checkpoint is None and ranks.leads:
        _refuse_shared_name(config, data)
        folder.write_config(config.to_plain(), command)
    _greet(config, folder, parts, ranks)
    tags = {**context.tags, "device": device_name(parts.precision.device), **parts.origin}
    record = RecordContext(context.name, context.run_id, context.parent_run_id)
    if checkpoint is not None:
        # Before the record is opened: a change that is refused leaves no trace there.
        refuse_other_run(checkpoint, _contents(config, data), len(loaders["train"]), config.trainer)
        tags["resume.command"] = typed_command
        record = replace(
            record, run_id=checkpoint["tracker"]["run_id"], resume_step=checkpoint["train_state"]["step"] + 1
        )
    recorded = opened_record(config, folder, data, command, tags, record) if ranks.leads else nullcontext(NullTracker())
    with recorded as tracker:
        trainer = _trainer(parts, folder, tracker, context, ranks)
        if checkpoint is None:
            tracker.log_artifact(folder.config_file)
        else:
            assert folder.checkpoint is not None
            trainer.resume(folder.checkpoint, checkpoint)
            if ranks.leads:
                folder.write_config(config.to_plain(), command)
        yield Run(
            config,
            folder,
            command,
            data,
            parts.network,
            parts.criterion,
            loaders,
            trainer,
            tracker,
            parts.spec,
            started,
        )


def _trainer(parts: Parts, folder: RunFolder, tracker: Tracker, context: TrialContext, ranks: Ranks) -> Trainer:
    config, data, loaders, settings = parts.config, parts.data, parts.loaders, parts.config.trainer
    if data.whole is not None:  # whatever the recipe keeps: this is no training that anybody goes back to
        settings = replace(settings, keep_lowest_loss=0, keep_every=None)
    optimizer = parts.optimizer()
    if ranks.rank:
        torch.manual_seed(config.seed + ranks.rank)  # what is dropped is not the same in all processes
    if settings.sync_batchnorm and ranks.is_shared:
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(parts.network)
    batches = len(loaders["train"])
    pixels = planned_pixels(settings, batches, parts.spec.image_size)
    alone = not ranks.is_shared
    if compile_network(parts.network, settings.compile, parts.precision.device, pixels, alone=alone):
        loaders["train"].compile_augmentation()
    return Trainer(
        parts.network,
        parts.criterion,
        loaders["train"],
        Validation(parts.criterion, loaders["val"].part(ranks), parts.precision, data.classes, ranks),
        optimizer,
        build(config.scheduler, peak_lr=config.optimizer.lr, total_steps=planned_steps(settings, batches)),
        parts.precision,
        settings,
        folder.path,
        tracker,
        monitor=config.monitor,
        resume_hint=resume_command(folder.path),
        fingerprints=_contents(config, data),
        description=checkpoint_description(parts, {**data.fingerprints, **parts.origin}),
        on_validation=context.on_validation,
        before_save=context.before_save,
        freezing=parts.freezing(),
        convolutions=parts.convolutions(),
        validation_images=len(loaders["val"].rows),
        ranks=ranks,
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


def _greet(config: Config, folder: RunFolder, parts: Parts, ranks: Ranks) -> None:
    data, splits, parameters = parts.data, parts.data.splits, sum(p.numel() for p in parts.network.parameters())
    log.info(
        "%s: %d training, %d validation, %d test images of %d classes",
        _called(config), len(splits.train), len(splits.val), len(splits.test), len(data.classes),
    )  # fmt: skip
    if data.whole is not None:
        log.info(
            "Of validation and test, no more is looked at than trainer.max_eval_batches=%d: nothing is packaged or "
            "registered.", config.trainer.max_eval_batches,
        )  # fmt: skip
    if ranks.is_shared:
        log.info("%d processes share each batch of %d images.", ranks.count, config.trainer.images_per_batch)
    precision = parts.precision
    log.info(
        "%.1f M parameters, %s on %s; run folder %s", parameters / 1e6, precision.name, precision.device, folder.path
    )
