"""What a training takes, typed, and what the verbs add that prepare one; the other verbs are in `verbs`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import FRACTION, PATH, PATH_OR_NAME, ComponentSettings, Settings, above, at_least
from astroclf.settings.dataset import DatasetSettings
from astroclf.settings.evaluation import EvaluationSettings, PromotionSettings
from astroclf.settings.network import BackboneSettings, HeadSettings
from astroclf.settings.tracking import TrackingSettings
from astroclf.settings.training import (
    AugmentSettings,
    FinetuneSettings,
    LossSettings,
    OptimizerSettings,
    SchedulerSettings,
    TrainerSettings,
)


@dataclass(frozen=True, kw_only=True)
class Config(Settings):
    """An experiment: what ``conf/config.yaml`` and the chosen groups say.

    Raises
    ------
    ConfigError
        The model could not be registered by its name, or random weights are to stay as they are.
    """

    dataset: DatasetSettings
    backbone: BackboneSettings
    loss: LossSettings
    augment: AugmentSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    finetune: FinetuneSettings
    trainer: TrainerSettings
    tracking: TrackingSettings
    head: HeadSettings
    evaluation: EvaluationSettings
    promotion: PromotionSettings
    seed: Annotated[int, at_least(0)]
    monitor: str
    resume: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        name = self.model_name
        if not name.strip() or "/" in name or ":" in name:
            raise ConfigError(f"A model cannot be registered as {name!r}: set 'tracking.model_name' without / and :.")
        if self.backbone.weights is None and self.finetune.keeps_pretrained:
            raise ConfigError(
                "finetune.freeze and finetune.frozen_norms keep what a pretrained backbone has learned, and "
                "backbone.weights=null gives it random weights. Name weights (backbone=efficientnet_lite0 "
                "backbone.weights=imagenet needs no network), or take finetune=none."
            )

    @classmethod
    def own_keys(cls) -> set[str]:
        """Return the keys that ``train`` does not take."""
        return cls.declared().keys() - Config.declared().keys()

    @property
    def input_size(self) -> int:
        """The side of the images that the network gets, in pixels."""
        return self.augment.output_size or self.dataset.image_size

    @property
    def model_name(self) -> str:
        """The name in the registry: the configured one, else the data set's."""
        return self.tracking.model_name or self.dataset.name

    @property
    def registers(self) -> bool:
        """Whether the run registers its model, for which a test on a part of the images is no ground."""
        return bool(self.tracking.uri and self.tracking.register) and self.trainer.max_eval_batches is None


@dataclass(frozen=True, kw_only=True)
class FindLrConfig(Config):
    """What ``conf/find_lr.yaml`` says: an experiment, and the learning rates to try with it.

    Raises
    ------
    ConfigError
        The learning rates do not rise, or a run is to be gone on with.
    """

    lowest_lr: Annotated[float, above(0)]
    highest_lr: Annotated[float, above(0)]
    lr_steps: Annotated[int, at_least(10)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is not None:
            raise ConfigError("resume= is for `astroclf train`: a learning rate is looked for at the start of a run.")
        if self.lowest_lr >= self.highest_lr:
            raise ConfigError(f"lowest_lr={self.lowest_lr:g} must be lower than highest_lr={self.highest_lr:g}.")


@dataclass(frozen=True, kw_only=True)
class PickConfig(Config):
    """What ``conf/pick.yaml`` says: an experiment, and the pretrained networks to compare for it.

    Raises
    ------
    ConfigError
        No network is named, or a run is to be gone on with.
    """

    candidates: Annotated[list[str] | str, PATH_OR_NAME]
    folds: Annotated[int, at_least(3)]
    views: Literal[1, 8]
    max_images: Annotated[int | None, at_least(30)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is not None:
            raise ConfigError("resume= is for `astroclf train`: a network is picked before a run.")
        if not self.words:
            raise ConfigError("'candidates' names none: give some, such as candidates=[efficientnet_lite0,resnet18].")

    @property
    def words(self) -> list[str]:
        """The candidates one by one; a text names one."""
        return [self.candidates] if isinstance(self.candidates, str) else self.candidates


@dataclass(frozen=True, kw_only=True)
class DoctorConfig(Config):
    """What ``conf/doctor.yaml`` says: an experiment whose surroundings are tried.

    Raises
    ------
    ConfigError
        A run is to be gone on with.
    """

    storage: str | None
    folder: Annotated[str, PATH]
    seconds: Annotated[float, above(0)]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume is not None:
            raise ConfigError("resume= is for `astroclf train`: type here what the run was begun with.")


@dataclass(frozen=True, kw_only=True)
class PretrainConfig(Settings):
    """What ``conf/pretrain.yaml`` says: images, a backbone, and how it learns from them without labels.

    Raises
    ------
    ConfigError
        An augmentation that mixes images, a batch of one, or one whose size is to be found out.
    """

    dataset: DatasetSettings
    backbone: BackboneSettings
    augment: AugmentSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    trainer: TrainerSettings
    tracking: TrackingSettings
    views: Annotated[int, at_least(2)]
    sigreg_weight: Annotated[float, FRACTION]
    embedding: Annotated[int, at_least(2)]
    slices: Annotated[int, at_least(1)]
    use_test: bool
    seed: Annotated[int, at_least(0)]
    resume: str | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.sigreg_weight == 0:
            raise ConfigError("'sigreg_weight' is 0; it must be above: without it all images get the same features.")
        if self.trainer.batch_size == "auto":
            raise ConfigError(
                "trainer.batch_size=auto cannot be: what is learned without labels depends on how many images are told "
                "apart in a step. Give a number, such as trainer.batch_size=64."
            )
        if self.trainer.batch_size == 1:
            raise ConfigError("trainer.batch_size=1 cannot be: images are told apart from others of their batch.")
        if self.augment.mixup or self.augment.cutmix:
            raise ConfigError(
                "augment.mixup and augment.cutmix mix labels, and there are none here: set them to 0, or take "
                "augment=pretraining."
            )

    @property
    def input_size(self) -> int:
        """The side of the images that the network gets, in pixels."""
        return self.augment.output_size or self.dataset.image_size


RESUMABLE = (Config, PretrainConfig)  # what a run is made of that can be gone on with

# The groups that people extend, by their names.
GROUPS: dict[str, type[ComponentSettings]] = {
    key.name: key.type
    for key in Config.declared().values()
    if isinstance(key.type, type) and issubclass(key.type, ComponentSettings)
}
