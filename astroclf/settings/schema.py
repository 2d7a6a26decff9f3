"""The schema of every config group: which keys there are, and of which type."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from astroclf.settings.fits import FitsSettings
from astroclf.settings.promotion import PromotionPolicy
from astroclf.settings.trainer import TrainerSettings

MISSING: Any = "???"  # OmegaConf's mark for a value that is not there yet


@dataclass(frozen=True)
class Component:
    """A class to build: its dotted name and its keyword arguments."""

    group: str
    target: str
    options: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.options[key]

    def to_dict(self) -> dict[str, Any]:
        """The yaml form: the options with ``_target_`` first."""
        return {"_target_": self.target, **self.options}


# ---- keys that are typed wherever they occur in a group that people extend -----------------------------------------


@dataclass
class DatasetKeys:
    _target_: str = MISSING
    name: str = MISSING
    path: str | None = MISSING
    classes: Any = MISSING  # a list of names, "found", or null
    exclude_classes: list[str] = MISSING
    image_size: int = MISSING
    channels: int = MISSING
    cache_dir: str = MISSING
    keep_images_on: Literal["auto", "device", "memory", "disk"] = MISSING
    on_error: Literal["raise", "skip"] = MISSING
    val_fraction: float = MISSING
    test_fraction: float = MISSING
    split_seed: int = MISSING
    fold: str | None = MISSING
    label_fraction: float = MISSING
    split_file: str | None = MISSING
    near_duplicates: bool = MISSING
    sky_arcsec: float | None = MISSING
    label_conflicts: Literal["keep", "drop", "majority"] = MISSING
    download: bool = MISSING
    fits: FitsSettings = MISSING


@dataclass
class BackboneKeys:
    _target_: str = MISSING
    weights: str | None = MISSING
    grad_checkpointing: bool = MISSING


@dataclass
class LossKeys:
    _target_: str = MISSING
    gamma: float = MISSING
    beta: float = MISSING
    activation: Literal["softmax", "sigmoid"] = MISSING
    label_smoothing: float = MISSING


@dataclass
class AugmentKeys:
    _target_: str = MISSING


@dataclass
class OptimizerKeys:
    _target_: str = MISSING
    lr: float = MISSING
    weight_decay: float = MISSING


@dataclass
class SchedulerKeys:
    _target_: str = MISSING
    start_lr: float | None = MISSING
    end_lr: float | None = MISSING
    warmup_fraction: float = MISSING


@dataclass
class TrackingKeys:
    _target_: str = MISSING
    uri: str = MISSING
    experiment: str = MISSING
    artifact_root: str | None = MISSING
    run_name: str | None = MISSING
    system_metrics: bool = MISSING
    system_metrics_seconds: float = MISSING
    tensorboard: bool = MISSING
    register: bool = MISSING
    model_name: str | None = MISSING


COMPONENT_KEYS: dict[str, type] = {
    "dataset": DatasetKeys,
    "backbone": BackboneKeys,
    "loss": LossKeys,
    "augment": AugmentKeys,
    "optimizer": OptimizerKeys,
    "scheduler": SchedulerKeys,
    "tracking": TrackingKeys,
}


# ---- sections that are ours alone ----------------------------------------------------------------------------------


@dataclass
class HeadConfig:
    refinement: bool = False
    attention: bool = False
    uncertainty: bool = True
    hidden: int = 512
    dropout: float = 0.3
    uncertainty_weight: float = 0.1


@dataclass
class EvaluationConfig:
    tta_views: int = 1


SECTIONS: dict[str, type] = {
    "trainer": TrainerSettings,
    "head": HeadConfig,
    "evaluation": EvaluationConfig,
    "promotion": PromotionPolicy,
}


# ---- what the front doors take: groups by their name, sections by theirs, and keys of their own ---------------------


@dataclass
class Config:
    """An experiment, checked: what `conf/config.yaml` and the chosen groups say."""

    dataset: Component
    backbone: Component
    loss: Component
    augment: Component
    optimizer: Component
    scheduler: Component
    trainer: TrainerSettings
    tracking: Component
    head: HeadConfig
    evaluation: EvaluationConfig
    promotion: PromotionPolicy
    seed: int = 0
    monitor: str = "val/accuracy"
    resume: str | None = None
    plain: dict[str, Any] = field(default_factory=dict, repr=False)  # the same, resolved, as yaml would hold it


@dataclass
class PrepareConfig:
    """What `conf/prepare.yaml` says: a data set to decode."""

    dataset: Component
    num_workers: int | None = None


@dataclass
class CheckConfig:
    """What `conf/check.yaml` says: a data set to look through, and a model to doubt its labels with."""

    dataset: Component
    tracking: Component
    model: str | None = None
    num_workers: int | None = None
