"""What a training is done with, built from its typed config: data, network, loss, optimizer, batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from astroclf.config.build import build
from astroclf.data.augment.recipe import Augmentation
from astroclf.data.catalog import SPLITS
from astroclf.data.loader import BatchLoader, PixelBuffer
from astroclf.engine.batch_size import fitting_batch_size
from astroclf.engine.freezing import Freezing
from astroclf.engine.parameter_groups import parameter_groups
from astroclf.errors import ConfigError
from astroclf.inference.teacher import Teacher
from astroclf.losses.criterion import Criterion, takes_soft_labels
from astroclf.losses.distillation import Distillation
from astroclf.models.backbone import DataConfig, data_config_of
from astroclf.models.blocks import single_valued_norm
from astroclf.models.classifier import Classifier
from astroclf.models.convolutions import Convolutions
from astroclf.models.network import NetworkSpec, build_network
from astroclf.models.precision import Precision, choose_device, choose_precision, make_deterministic
from astroclf.registry.backbone_file import Pretraining
from astroclf.registry.pretrained import InitialWeights, initial_weights
from astroclf.run.data import Data, load_data, soft_labels
from astroclf.run.teacher import Teachers, check_preparation, load_teachers, teacher_for
from astroclf.settings.components import locate, parameters_of
from astroclf.settings.config import Config
from astroclf.settings.dataset import DatasetSettings, ImagePlace
from astroclf.settings.training import AugmentSettings, FinetuneSettings, OptimizerSettings, TrainerSettings
from astroclf.util.logs import log
from astroclf.util.ranks import ALONE, Ranks, refuse_shared_gpu

CHOICES = "convolutions.json"  # in the folder of caches: which way of computing each is the fastest on which machine
EVALUATED_AT_ONCE = 4  # times the training's batch, on a GPU


class ProcessCache:
    """What the runs of one process share: the data set that was loaded last, and its pixels on the device."""

    def __init__(self) -> None:
        self._loaded: tuple[DatasetSettings, Data] | None = None
        self._pixels: tuple[tuple[Any, ...], PixelBuffer] | None = None
        self._teachers: tuple[tuple[Any, ...], Teachers] | None = None

    def data(self, config: Config, once_listed: Callable[[], None] | None = None) -> Data:
        """Load the configured data set, unless it is what was loaded last; `once_listed` as for `load_data`."""
        if self._loaded is None or self._loaded[0] != config.dataset:
            self._loaded = self._pixels = None  # free before the next takes its place
            self._loaded = config.dataset, load_data(config, once_listed)
        elif once_listed is not None:
            once_listed()
        return self._loaded[1]

    def take(self, settings: DatasetSettings, data: Data) -> None:
        """Take a data set that was loaded elsewhere, whose splits are not as its settings say."""
        self._loaded = settings, data

    def teachers(self, config: Config, precision: Precision) -> Teachers | None:
        """Load the models whose answers are learned, unless they are what was loaded last; None where there are none.

        What an alias means is looked up once: all trials of a process have the same teacher.
        """
        uri = config.tracking.uri if isinstance(config.tracking.uri, str) else None
        key = (tuple(config.loss.teachers), uri, precision)
        if not key[0]:
            return None
        if self._teachers is None or self._teachers[0] != key:
            self._teachers = None
            self._teachers = key, load_teachers(key[0], uri, precision)
        return self._teachers[1]

    def pixels(self, data: Data, keep_images_on: ImagePlace, device: torch.device) -> PixelBuffer:
        """Return the decoded images where `keep_images_on` says, moved there once."""
        key = (data.cache.path, keep_images_on, device)
        if self._pixels is None or self._pixels[0] != key:
            self._pixels = None
            self._pixels = key, PixelBuffer(data.cache.images, keep_images_on, device)
        return self._pixels[1]


@dataclass(frozen=True)
class Parts:
    """What a training is done with; the network is not on the device yet.

    Attributes
    ----------
    config
        With the batch size as a number, also where it was ``auto``, and with the normalisation that the backbone
        expects, where the augmentation says none.
    spec
        What `network` is, without pretrained weights: enough to build it again.
    origin
        What it begins with, by the names of `registry.pretrained.ORIGIN`, and its teacher, by those of `TEACHER`.
    """

    config: Config
    data: Data
    precision: Precision
    spec: NetworkSpec
    network: Classifier
    criterion: Criterion
    loaders: Mapping[str, BatchLoader]
    origin: Mapping[str, str]

    def optimizer(self) -> torch.optim.Optimizer:
        """Put the network on its device, and return a new optimizer over its parameters."""
        to_device(self.network, self.config.trainer, self.precision)
        return new_optimizer(self.config.optimizer, self.network, self.config.finetune)

    def convolutions(self) -> Convolutions | None:
        """Return how convolutions are computed in training; None: as torch does."""
        return tuned_convolutions(self.config.trainer, self.precision, self.config.dataset.cache_dir)

    def freezing(self) -> Freezing | None:
        """Return what of the network does not train in which steps, once its optimizer is made; None: all does."""
        settings, batches = self.config.finetune, len(self.loaders["train"])
        if not settings.keeps_pretrained:
            return None
        return Freezing(self.network, settings, math.ceil(batches / self.config.trainer.grad_accum_steps))


def tuned_convolutions(
    settings: TrainerSettings, precision: Precision, cache_dir: str | None = None
) -> Convolutions | None:
    """Return the convolutions that are timed and chosen; None: they are torch's.

    Parameters
    ----------
    cache_dir
        Where the choices of earlier runs are; None: all are timed anew.
    """
    fitting = precision.device.type == "cpu" and precision.name == "bf16" and settings.compile is not True
    file = None if cache_dir is None else Path(cache_dir) / CHOICES
    return Convolutions(file) if settings.conv_autotune and fitting else None


def to_device(network: nn.Module, settings: TrainerSettings, precision: Precision) -> None:
    """Put a network on its device, in the memory layout that is asked for."""
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    network.to(device=precision.device, memory_format=memory_format)  # type: ignore[call-overload]


def new_optimizer(
    settings: OptimizerSettings, network: nn.Module, finetune: FinetuneSettings | None = None
) -> torch.optim.Optimizer:
    """Return a new optimizer over the parameters of a network that is on its device.

    Without fine-tuning, all of it learns at one rate.
    """
    rates = {} if finetune is None else {"layer_decay": finetune.layer_decay, "head_lr": finetune.head_lr}
    groups = parameter_groups(network, settings.weight_decay or 0.0, **rates)
    if settings.rho:  # no option of the optimizer's own, but of the steps that are taken with it
        groups = [{**group, "rho": settings.rho} for group in groups]
    device = next(network.parameters()).device
    # Both forms skip a non-finite step on the device. An optimizer that has neither asks the host at each step.
    fused = True if has_fused_form(settings, device) else None
    optimizer: torch.optim.Optimizer = build(settings, params=groups, fused=fused, capturable=device.type == "cuda")
    return optimizer


def has_fused_form(settings: OptimizerSettings, device: torch.device) -> bool:
    """Tell whether an optimizer has a fused form that runs on a device, by a step of one number.

    Torch says it nowhere: the Adagrad of 2.11 has one, and refuses parameters on a GPU at the first step.
    """
    if "fused" not in parameters_of(locate(settings.section, settings.target)):
        return False
    number = nn.Parameter(torch.zeros(1, device=device))
    number.grad = torch.zeros_like(number)
    try:
        build(settings, params=[number], fused=True).step()
    except RuntimeError:
        return False
    return True


def build_parts(
    config: Config,
    cache: ProcessCache,
    *,
    pretrained: bool = True,
    once_listed: Callable[[], None] | None = None,
    ranks: Ranks = ALONE,
) -> Parts:
    """Build what a training is done with.

    Parameters
    ----------
    pretrained
        Whether the backbone gets the weights that the config names; not where a checkpoint has them.
    once_listed
        As for `load_data`.
    ranks
        The processes that share the training.

    Raises
    ------
    AstroclfError
        A part that cannot be had. What takes long comes last: nobody waits for a data set to be decoded to hear that
        weights are missing.
    """
    device = choose_device(config.trainer.device)
    if ranks.is_shared:
        _refuse_devices(config.trainer, device)
    make_deterministic(config.trainer.deterministic, device)
    torch.manual_seed(config.seed)
    channels = config.dataset.channels
    backbone, initial = build_backbone(config, pretrained=pretrained)
    precision = choose_precision(
        config.trainer.precision, device, None if config.finetune.trains_the_head_alone else backbone
    )
    expected = initial.pretraining.data_config if initial.pretraining else data_config_of(backbone)
    config = replace(config, augment=normalised(config.augment, expected, channels))
    spec = NetworkSpec(
        backbone={key: None if key == "weights" else value for key, value in config.backbone.to_plain().items()},
        num_classes=1,  # until the data set says how many
        image_size=config.input_size,
        channels=channels,
        head={name: value for name, value in vars(config.head).items() if name != "uncertainty_weight"},
    )
    if config.trainer.batch_size != "auto":
        _refuse_small_parts(config.trainer.batch_size, ranks)
        if config.trainer.batch_size // ranks.count == 1:
            _refuse_single_values(spec, backbone, config.trainer.batch_size, ranks)
    augmentation = build(config.augment)
    if config.loss.soft_labels and not takes_soft_labels(locate("loss", config.loss.target)):
        raise ConfigError(
            f"loss.soft_labels=true: {config.loss.target} takes no soft labels: its forward has no `targets_BC`. "
            "Choose another loss, or leave loss.soft_labels out."
        )

    teachers = cache.teachers(config, precision)
    if teachers is not None:
        config = replace(config, loss=replace(config.loss, teacher=list(teachers.names)))  # as they are called for good
        check_preparation(teachers, config)

    data = cache.data(config, once_listed)
    if initial.pretraining is not None:
        _tell_seen(initial.pretraining, data)
    spec = replace(spec, num_classes=len(data.classes))
    loss = build(config.loss, class_counts=data.cache.catalog.class_counts(data.splits.train).tolist())
    teacher = teacher_for(teachers, config, data, augmentation) if teachers is not None else None
    criterion = _criterion(config, loss, teacher).to(precision.device)
    network = build_network(spec, backbone=backbone, output_bias=loss.initial_bias(spec.num_classes))
    if config.trainer.batch_size == "auto":
        _pixels(config, data, cache, precision.device)  # they take their room first
        batch_size = _fitting(config, data, spec, network, criterion, precision, ranks)
        config = replace(config, trainer=replace(config.trainer, batch_size=batch_size))
    batch_size = config.trainer.images_per_batch
    if config.trainer.max_eval_batches is not None:
        data = data.shortened(config.trainer.max_eval_batches * batch_size)
    _refuse_small_parts(min(batch_size, len(data.splits.train)), ranks)
    loaders = _loaders(config, data, _pixels(config, data, cache, precision.device), augmentation, ranks)
    origin = {**initial.origin, **(teachers.origin if teachers else {})}
    return Parts(config, data, precision, spec, network, criterion, loaders, origin)


def _refuse_devices(settings: TrainerSettings, device: torch.device) -> None:
    """Refuse what several processes cannot train on."""
    refuse_shared_gpu(device)
    if settings.sync_batchnorm and device.type == "cpu":
        raise ConfigError(
            "trainer.sync_batchnorm=true: PyTorch takes BatchNorm's statistics over several processes on GPUs alone. "
            "Leave it out on a CPU; docs/many_machines.md says what it changes."
        )


def build_backbone(config: Config, *, pretrained: bool = True) -> tuple[nn.Module, InitialWeights]:
    """Build the backbone as the training begins with it; returns it, and where its weights are from.

    Raises
    ------
    AstroclfError
        Its weights are not to be had, or do not fit it.
    """
    named = config.backbone.weights if pretrained and isinstance(config.backbone.weights, str) else None
    uri = config.tracking.uri if isinstance(config.tracking.uri, str) else None
    with initial_weights(named, uri) as initial:
        # What names none keeps what its class has by default.
        weights = {} if pretrained and named is None else {"weights": initial.given}
        backbone: nn.Module = build(
            config.backbone, image_size=config.input_size, channels=config.dataset.channels, **weights
        )
    return backbone, initial


def _criterion(config: Config, loss: nn.Module, teacher: Teacher | None) -> Criterion:
    uncertainty_weight, settings = config.head.uncertainty_weight, config.loss
    if teacher is None:
        return Criterion(loss, uncertainty_weight)
    return Distillation(loss, uncertainty_weight, teacher, settings.teacher_weight or 1.0, settings.temperature or 1.0)


def normalised(augment: AugmentSettings, expected: DataConfig | None, channels: int) -> AugmentSettings:
    """Return the augmentation with the normalisation that the backbone's weights expect, where none is asked for."""
    if expected is None:
        return augment
    mean, std = expected.normalisation(channels)
    return replace(
        augment,
        mean=mean if augment.mean is None else augment.mean,
        std=std if augment.std is None else augment.std,
    )


def _tell_seen(pretraining: Pretraining, data: Data) -> None:
    """Say how many of the images that the model will be judged by its backbone has seen, without their labels."""
    seen = pretraining.seen.among(data.cache.pixel_digests) != ""
    counts = {name: int(seen[getattr(data.splits, name)].sum()) for name in SPLITS}
    if counts["test"]:
        log.warning(
            "The backbone was pretrained on %d of the %d test images, without their labels: the test promises a little "
            "more than new images will keep. `astroclf pretrain` leaves test images out where it knows the labels.",
            counts["test"], len(data.splits.test),
        )  # fmt: skip
    else:
        log.info(
            "The backbone was pretrained on %s: %d of the training images among its own, and no test image.",
            pretraining.dataset, counts["train"],
        )  # fmt: skip


def _fitting(
    config: Config,
    data: Data,
    spec: NetworkSpec,
    network: Classifier,
    criterion: Criterion,
    precision: Precision,
    ranks: Ranks,
) -> int:
    """Return the batch size that `auto` stands for here, and say it: what fits all processes, of them all."""
    shape = (spec.channels, spec.image_size, spec.image_size)
    images = len(data.splits.train) // ranks.count
    fitting = fitting_batch_size(
        network, criterion, precision, config.trainer, shape, spec.num_classes, images,
        prepare=lambda model: to_device(model, config.trainer, precision),
        make_optimizer=lambda model: new_optimizer(config.optimizer, model, config.finetune),
    )  # fmt: skip
    batch_size = ranks.count * min(ranks.gather(fitting))
    log.info(
        "trainer.batch_size=auto is %d here. The learning rate stays at optimizer.lr=%g: one that suited another batch "
        "size may not suit this one (`astroclf find_lr` with the same words measures it).",
        batch_size, config.optimizer.lr,
    )  # fmt: skip
    return batch_size


def _refuse_small_parts(images: int, ranks: Ranks) -> None:
    """Refuse batches of fewer images than there are processes to share them."""
    if images < ranks.count:
        raise ConfigError(
            f"A batch of {images} images cannot be shared by {ranks.count} processes: trainer.batch_size is the batch "
            "of all of them together. Raise it, or start fewer with torchrun --nproc-per-node."
        )


def _refuse_single_values(spec: NetworkSpec, backbone: nn.Module, batch_size: int, ranks: Ranks) -> None:
    """Refuse batches of one image where BatchNorm cannot take a variance over them.

    Larger batches never come to this: a split has at least two classes, and the rest of an epoch is left out.
    """
    with torch.random.fork_rng(devices=[]):  # the heads of this network are not those that will be trained
        layer = single_valued_norm(build_network(spec, backbone=backbone), spec.image_size, spec.channels)
    if layer is not None:
        head = layer.startswith("refinement.")
        shared = f" in {ranks.count} processes, which share its images" if ranks.is_shared else ""
        other = "head.refinement=false" if head else "a larger dataset.image_size or a backbone without BatchNorm"
        raise ConfigError(
            f"trainer.batch_size={batch_size} cannot train this network{shared}: BatchNorm takes the variance of each "
            f"channel over the batch, and one image gives its layer {layer} a single value of each. Take "
            f"trainer.batch_size={2 * ranks.count} or more (trainer.grad_accum_steps adds batches up for one optimizer "
            f"step), or {other}."
        )


def _pixels(config: Config, data: Data, cache: ProcessCache, device: torch.device) -> PixelBuffer:
    place = config.dataset.keep_images_on
    if place == "auto" and _few_steps_read(config, data) < len(data.cache.images):
        place = "disk"  # elsewhere, all would be read to be put there
    return cache.pixels(data, place, device)


def evaluated_at_once(batch_size: int, device: torch.device) -> int:
    """Return how many images are evaluated at once, where `batch_size` of them are trained on.

    Without gradients more fit a GPU's memory, and it is faster with more; a CPU is not.
    """
    return batch_size * (EVALUATED_AT_ONCE if device.type == "cuda" else 1)


def _loaders(
    config: Config, data: Data, pixels: PixelBuffer, augmentation: Augmentation, ranks: Ranks
) -> dict[str, BatchLoader]:
    batch_size = config.trainer.images_per_batch
    own = -(-batch_size // ranks.count)  # of each process
    return {
        name: BatchLoader(
            pixels,
            data.cache.catalog.labels,
            getattr(data.splits, name),
            batch_size=batch_size if name == "train" else evaluated_at_once(own, pixels.device),
            augmentation=augmentation,
            seed=config.seed,
            train=name == "train",
            targets=soft_labels(data.cache.catalog, config.loss),
            num_workers=config.trainer.num_workers,
            cuda_graph=config.trainer.cuda_graph,
            ranks=ranks if name == "train" else ALONE,
        )
        for name in SPLITS
    }


def _few_steps_read(config: Config, data: Data) -> float:
    """Return how many images a run of `max_steps` reads, with one validation and its test; others read all."""
    settings = config.trainer
    if settings.max_steps is None or settings.batch_size == "auto":
        return math.inf
    trained = settings.max_steps * settings.grad_accum_steps * settings.images_per_batch
    return trained + len(data.splits.val) + len(data.splits.test)
