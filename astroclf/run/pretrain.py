"""One pretraining, whole: from images without labels to the file of a backbone that trainings begin with."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch

from astroclf.config.build import build
from astroclf.data.augment.plan import per_band
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.data.split.assign import take_evenly
from astroclf.engine.checkpoint import load_checkpoint, weights_of
from astroclf.engine.pretraining import NEIGHBOURS, PretrainingNetwork, RepresentationValidation, SelfSupervision
from astroclf.engine.state import planned_pixels, planned_steps, refuse_other_run
from astroclf.engine.trainer import FitResult, Trainer
from astroclf.errors import DataError
from astroclf.inference.seen import SPLITS_SEEN, SeenImages
from astroclf.models.backbone import DataConfig, data_config_of
from astroclf.models.compiling import compile_network
from astroclf.models.precision import Precision, choose_device, choose_precision, make_deterministic
from astroclf.registry.backbone_file import BACKBONE_FILE, Pretraining, write_backbone
from astroclf.registry.pretrained import initial_weights
from astroclf.run.data import Data, load_unlabelled
from astroclf.run.environment import device_name
from astroclf.run.folder import RunFolder, resume_command
from astroclf.run.parts import new_optimizer, normalised, to_device, tuned_convolutions
from astroclf.run.preview import draw_views
from astroclf.run.record import RecordContext, opened_record
from astroclf.run.rehearsal import check_record, try_record
from astroclf.run.train import alone
from astroclf.settings.config import PretrainConfig
from astroclf.tracking.tracker import Tracker
from astroclf.util.logs import log

NEIGHBOURS_AT_MOST = 2000  # images that held-out ones are compared with: more take time, and change little
COLLAPSED_RANK = 4.0  # an effective rank below says that few directions of the features are used


@dataclass(frozen=True)
class _Parts:
    """What a pretraining is done with; `config` has the normalisation, where it named none."""

    config: PretrainConfig
    data: Data
    precision: Precision
    network: PretrainingNetwork
    criterion: SelfSupervision
    train: BatchLoader
    validation: RepresentationValidation
    origin: Mapping[str, str]

    @property
    def about(self) -> Pretraining:
        """What the file of the backbone will say of itself."""
        augmentation, channels = self.train.augmentation, self.config.dataset.channels
        mean, std = (tuple(per_band(augmentation, name, channels).tolist()) for name in ("mean", "std"))
        digests = self.data.cache.pixel_digests
        return Pretraining(
            self.config.dataset.name,
            DataConfig(mean, std, self.config.input_size),
            SeenImages.of(digests[self.data.splits.train], digests[:0]),
        )


def pretrain(config: PretrainConfig, folder: RunFolder, command: str) -> dict[str, Any]:
    """Pretrain (or go on), and write the backbone; return the metrics.

    Raises
    ------
    AstroclfError
        Whatever a user can cause; what was written before is kept, and the MLflow run is closed.
    """
    if folder.checkpoint is not None and (metrics := folder.metrics()):
        log.info("%s is complete (it has its metrics.json): nothing is left to do.", folder.path)
        return metrics
    started, typed_command = time.monotonic(), command
    with alone(folder):
        checkpoint = load_checkpoint(folder.checkpoint) if folder.checkpoint is not None else None
        command = folder.command() if checkpoint is not None else command
        check_record(config.tracking)
        parts = _build(config, pretrained=checkpoint is None)
        config, data = parts.config, parts.data
        context, tags = RecordContext(), {"device": device_name(parts.precision.device), **parts.origin}
        if checkpoint is None:
            folder.write_config(config.to_plain(), command)
            before = parts.validation.representation(parts.network)
        else:
            refuse_other_run(checkpoint, data.splits.fingerprints, len(parts.train), config.trainer)
            before = checkpoint["description"]["before"]
            tags["resume.command"] = typed_command
            step = checkpoint["train_state"]["step"] + 1
            context = RecordContext(run_id=checkpoint["tracker"]["run_id"], resume_step=step)
        _greet(parts, folder)
        with opened_record(config, folder, data, command, tags, context) as tracker:
            trainer = _trainer(parts, folder, tracker, before)
            if checkpoint is None:
                tracker.log_artifact(folder.config_file)
                draw_views(folder.path, data, parts.train)
            else:
                assert folder.checkpoint is not None
                trainer.resume(folder.checkpoint, checkpoint)
                folder.write_config(config.to_plain(), command)
            _finish(parts, folder, trainer, trainer.fit(), before, started)
    return folder.metrics() or {}


def _build(config: PretrainConfig, *, pretrained: bool) -> _Parts:
    """Build what a pretraining is done with; what takes long comes last."""
    device = choose_device(config.trainer.device)
    make_deterministic(config.trainer.deterministic, device)
    torch.manual_seed(config.seed)
    channels = config.dataset.channels
    named = config.backbone.weights if pretrained and isinstance(config.backbone.weights, str) else None
    uri = config.tracking.uri if isinstance(config.tracking.uri, str) else None
    with initial_weights(named, uri) as initial:
        backbone = build(config.backbone, image_size=config.input_size, channels=channels, weights=initial.given)
    precision = choose_precision(config.trainer.precision, device, backbone)
    expected = initial.pretraining.data_config if initial.pretraining else data_config_of(backbone)
    config = replace(config, augment=normalised(config.augment, expected, channels))
    network, augmentation = PretrainingNetwork(backbone, config.embedding), build(config.augment)
    data = load_unlabelled(config, lambda: try_record(config))
    _refuse_few(config, data)
    to_device(network, config.trainer, precision)
    criterion = SelfSupervision(config.views, config.sigreg_weight, config.slices)
    train, validation = _loaders(config, data, augmentation, precision, criterion)
    return _Parts(config, data, precision, network, criterion, train, validation, initial.origin)


def _refuse_few(config: PretrainConfig, data: Data) -> None:
    """Refuse fewer images than two batches: the embeddings of few are no distribution."""
    images = len(data.splits.train)
    if images < 2 * config.trainer.images_per_batch:
        raise DataError(
            f"{images} images are too few to learn from in batches of trainer.batch_size="
            f"{config.trainer.images_per_batch}: it takes two batches. Add images (simulated ones: "
            "dataset=galaxy10_sim dataset.samples=20000), or lower trainer.batch_size."
        )


def _loaders(
    config: PretrainConfig, data: Data, augmentation: Augmentation, precision: Precision, criterion: SelfSupervision
) -> tuple[BatchLoader, RepresentationValidation]:
    pixels = PixelBuffer(data.cache.images, config.dataset.keep_images_on, precision.device)
    labels, held_out = data.cache.catalog.labels, data.splits.val
    if config.trainer.max_eval_batches is not None:
        held_out = take_evenly(labels, held_out, config.trainer.max_eval_batches * config.trainer.images_per_batch)

    def loader(rows: Any, **how: Any) -> BatchLoader:
        return BatchLoader(
            pixels, labels, rows, batch_size=config.trainer.images_per_batch, augmentation=augmentation,
            seed=config.seed, num_workers=config.trainer.num_workers, cuda_graph=config.trainer.cuda_graph, **how,
        )  # fmt: skip

    validation = RepresentationValidation(
        criterion,
        views=loader(held_out, train=True, views=config.views),
        held_out=loader(held_out, train=False),
        neighbours=loader(take_evenly(labels, data.splits.train, NEIGHBOURS_AT_MOST), train=False),
        precision=precision,
        labelled=len(data.classes) > 1,
    )
    return loader(data.splits.train, train=True, views=config.views), validation


def _trainer(parts: _Parts, folder: RunFolder, tracker: Tracker, before: Mapping[str, float]) -> Trainer:
    config, network, settings = parts.config, parts.network, parts.config.trainer
    optimizer = new_optimizer(config.optimizer, network)
    pixels = config.views * planned_pixels(settings, len(parts.train), config.input_size)
    if compile_network(network, settings.compile, parts.precision.device, pixels):
        parts.train.compile_augmentation()
    about = parts.about
    digests = {name: torch.from_numpy(getattr(about.seen, name).view("int64")) for name in SPLITS_SEEN}
    return Trainer(
        network,
        parts.criterion,
        parts.train,
        parts.validation,
        optimizer,
        build(config.scheduler, peak_lr=config.optimizer.lr, total_steps=planned_steps(settings, len(parts.train))),
        parts.precision,
        settings,
        folder.path,
        tracker,
        monitor="val/loss",
        resume_hint=resume_command(folder.path),
        fingerprints=parts.data.splits.fingerprints,
        description={"before": dict(before), "seen": digests},
        convolutions=tuned_convolutions(settings, parts.precision, config.dataset.cache_dir),
        validation_images=parts.validation.images,
    )


def _greet(parts: _Parts, folder: RunFolder) -> None:
    config, data, splits = parts.config, parts.data, parts.data.splits
    log.info("%s: learning from %d images, %d to measure by", config.dataset.name, len(splits.train), len(splits.val))
    if len(data.classes) > 1:
        log.info(
            "It has labels, of %d classes. They are not learned from: the kNN accuracy of held-out images is for the "
            "eye. %s",
            len(data.classes),
            "Its test images are learned from, too (use_test=true): they test nothing after this."
            if config.use_test
            else f"Its {len(splits.test)} test images, as `astroclf train` splits it with these settings, are left out "
            "(use_test=true takes them).",
        )  # fmt: skip
    parameters = sum(parameter.numel() for parameter in parts.network.backbone.parameters())
    log.info(
        "%.1f M parameters, %s on %s; run folder %s",
        parameters / 1e6, parts.precision.name, parts.precision.device, folder.path,
    )  # fmt: skip


def _finish(
    parts: _Parts,
    folder: RunFolder,
    trainer: Trainer,
    fitted: FitResult,
    before: Mapping[str, float],
    started: float,
) -> None:
    """Write the backbone as it stands at the end, then what came of it; ``metrics.json`` last."""
    weights = weights_of(load_checkpoint(trainer.checkpoints.last))
    state = {name.removeprefix("backbone."): value for name, value in weights.items() if name.startswith("backbone.")}
    file = folder.path / BACKBONE_FILE
    write_backbone(file, state, parts.about)
    last = trainer.state.history[-1]
    metrics = {
        **{name: value for name, value in last.items() if name.startswith("val/")},
        **{f"pretraining/{name}_before": value for name, value in before.items()},
        "pretraining/images": len(parts.data.splits.train),
        "train/steps": fitted.steps,
        "train/skipped_steps": fitted.skipped_steps,
        "train/images_per_second": fitted.images_per_second,
        "train/seconds": fitted.seconds["training"],
        "run/seconds": time.monotonic() - started + fitted.earlier_seconds,
        "run/mlflow_id": trainer.tracker.run_id or "",
        **{f"run/{name}": value for name, value in parts.data.fingerprints.items()},
    }
    numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, (int, float))}
    trainer.tracker.log_metrics({name: value for name, value in numbers.items() if not name.startswith("val/")}, 0)
    trainer.tracker.log_artifact(file)
    folder.write_metrics(metrics)
    for name in ("metrics.json", "history.csv", "steps.csv", "plots"):
        trainer.tracker.log_artifact(folder.path / name)
    log.info("")
    log.info(
        "Effective rank of the features: %.1f before, %.1f now, of %d.",
        before["effective_rank"], last["val/effective_rank"], parts.network.backbone.num_features,
    )  # fmt: skip
    if last["val/effective_rank"] < min(COLLAPSED_RANK, len(parts.data.splits.val) / 4):
        log.warning(
            "The features vary in few directions: the network has collapsed, or the images are all alike. Raise "
            "sigreg_weight, lower optimizer.lr, or take larger batches."
        )
    if "knn_accuracy" in before:
        log.info(
            "Held-out images whose %d nearest neighbours give the right label: %.1f %% before, %.1f %% now.",
            NEIGHBOURS, 100 * before["knn_accuracy"], 100 * last["val/knn_accuracy"],
        )  # fmt: skip
        if last["val/knn_accuracy"] < before["knn_accuracy"]:
            log.warning(
                "By their neighbours, images are told apart worse than with the weights that it began with: do not "
                "count on these. Give it more steps (trainer.epochs), more images, or an augmentation that leaves what "
                "tells classes apart (augment=dihedral)."
            )
    log.info("Backbone  %s", file)
    log.info("Begin a training with it:  astroclf train … backbone.weights=%s finetune=full", folder.path)
    log.info("%s", trainer.tracker.where_to_look())
