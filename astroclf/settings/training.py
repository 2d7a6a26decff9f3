"""What a training is made of: augmentation, loss, optimizer, learning-rate schedule, and the loop's own settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from astroclf.errors import ConfigError
from astroclf.settings.base import (
    ABSENT,
    CHANGEABLE,
    FOR_THE_RUN,
    FRACTION,
    PATH_OR_NAME,
    Absent,
    ComponentSettings,
    Settings,
    above,
    at_least,
)

ColorOrder = Literal["before_geometry", "after_geometry"]


@dataclass(frozen=True, kw_only=True)
class AugmentSettings(ComponentSettings):
    """An augmentation of ``conf/augment``, where each key is explained; `Augmentation` checks the values."""

    section = "augment"

    crop: list[int] | Absent | None = ABSENT
    reference_size: int | Absent = ABSENT
    color: ColorOrder | Absent = ABSENT
    brightness: float | Absent = ABSENT
    contrast: float | Absent = ABSENT
    saturation: float | Absent = ABSENT
    hue: float | Absent = ABSENT
    blur_kernel: int | Absent = ABSENT
    blur_sigma: list[float] | Absent = ABSENT
    hflip: float | Absent = ABSENT
    vflip: float | Absent = ABSENT
    dihedral: bool | Absent = ABSENT
    rotation: list[float] | Absent = ABSENT
    zoom: list[float] | Absent = ABSENT
    shift: float | Absent = ABSENT
    noise: float | Absent = ABSENT
    trivial: bool | Absent = ABSENT
    degrade: float | Absent = ABSENT
    softening: float | Absent | None = ABSENT
    pixel_scale: float | Absent | None = ABSENT
    seeing: float | Absent = ABSENT
    depth: float | Absent = ABSENT
    dimming: float | Absent = ABSENT
    zero_point: float | Absent = ABSENT
    gradient: float | Absent = ABSENT
    jpeg: int | Absent | None = ABSENT
    gaps: float | Absent = ABSENT
    mixup: float | Absent = ABSENT
    cutmix: float | Absent = ABSENT
    output_size: Annotated[int | Absent | None, FOR_THE_RUN] = ABSENT
    mean: list[float] | float | Absent | None = ABSENT
    std: list[float] | float | Absent | None = ABSENT


@dataclass(frozen=True, kw_only=True)
class LossSettings(ComponentSettings):
    """A loss of ``conf/loss``, where each key is explained."""

    section = "loss"

    gamma: Annotated[float | Absent, at_least(0)] = ABSENT
    beta: Annotated[float | Absent, FRACTION] = ABSENT
    activation: Literal["softmax", "sigmoid"] | Absent = ABSENT
    label_smoothing: Annotated[float | Absent, FRACTION] = ABSENT
    soft_labels: Annotated[bool | Absent, FOR_THE_RUN] = ABSENT
    teacher: Annotated[list[str] | str | Absent | None, PATH_OR_NAME, FOR_THE_RUN] = ABSENT
    teacher_weight: Annotated[float | Absent, above(0), FOR_THE_RUN] = ABSENT
    temperature: Annotated[float | Absent, above(0), FOR_THE_RUN] = ABSENT

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.teacher_weight and self.teacher_weight > 1:
            raise ConfigError(f"'loss.teacher_weight' is {self.teacher_weight}; it must be at most 1: all of the loss.")

    @property
    def teachers(self) -> list[str]:
        """The names of the teacher's models; none where the labels alone are learned."""
        named = self.teacher or []
        return [named] if isinstance(named, str) else named


@dataclass(frozen=True, kw_only=True)
class OptimizerSettings(ComponentSettings):
    """An optimizer of ``conf/optimizer``, where each key is explained."""

    section = "optimizer"

    lr: Annotated[float, above(0), FOR_THE_RUN, CHANGEABLE]
    weight_decay: Annotated[float | Absent, at_least(0), FOR_THE_RUN, CHANGEABLE] = ABSENT
    betas: list[float] | Absent = ABSENT
    eps: float | Absent = ABSENT
    decoupled_weight_decay: bool | Absent = ABSENT
    momentum: float | Absent = ABSENT
    nesterov: bool | Absent = ABSENT
    rho: Annotated[float | Absent | None, above(0), FOR_THE_RUN] = ABSENT


@dataclass(frozen=True, kw_only=True)
class SchedulerSettings(ComponentSettings):
    """A learning-rate schedule of ``conf/scheduler``, where each key is explained."""

    section = "scheduler"

    start_lr: Annotated[float | Absent | None, at_least(0)] = ABSENT
    end_lr: Annotated[float | Absent | None, at_least(0)] = ABSENT
    warmup_fraction: Annotated[float | Absent, FRACTION] = ABSENT


@dataclass(frozen=True, kw_only=True)
class FinetuneSettings(Settings):
    """How the parts of a pretrained network train; ``conf/finetune/none.yaml`` explains each key."""

    section = "finetune"

    layer_decay: Annotated[float, above(0)]
    head_lr: Annotated[float, above(0)]
    freeze: Annotated[int | Literal["all"], at_least(0)]
    freeze_epochs: Annotated[float | None, above(0)]
    frozen_norms: bool

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layer_decay > 1:
            raise ConfigError(
                f"'finetune.layer_decay' is {self.layer_decay}; it must be at most 1: earlier stages learn more slowly."
            )
        if self.freeze_epochs is not None and self.freeze == 0:
            raise ConfigError(
                f"finetune.freeze_epochs={self.freeze_epochs:g} would change nothing, as finetune.freeze=0 freezes "
                "nothing. Set finetune.freeze=all, or to a number of stages."
            )

    @property
    def keeps_pretrained(self) -> bool:
        """Whether anything of the backbone stays as its weights have it, be it for a while."""
        return self.freeze != 0 or self.frozen_norms

    @property
    def trains_the_head_alone(self) -> bool:
        """Whether nothing of the backbone ever trains."""
        return self.freeze == "all" and self.freeze_epochs is None


@dataclass(frozen=True, kw_only=True)
class TrainerSettings(Settings):
    """The training loop; ``conf/trainer/default.yaml`` explains each key."""

    section = "trainer"

    epochs: Annotated[int, at_least(1), CHANGEABLE]
    batch_size: Annotated[int | Literal["auto"], at_least(1)]
    grad_accum_steps: Annotated[int, at_least(1)]
    max_steps: Annotated[int | None, at_least(0), CHANGEABLE]
    device: Annotated[Literal["auto", "cuda", "cpu"], CHANGEABLE]
    precision: Annotated[Literal["auto", "bf16", "fp16", "fp32"], CHANGEABLE]
    channels_last: bool
    conv_autotune: Annotated[bool, CHANGEABLE]
    cuda_graph: Annotated[bool, CHANGEABLE]
    compile: Annotated[bool | Literal["auto"], CHANGEABLE]
    deterministic: Annotated[bool, CHANGEABLE]
    sync_batchnorm: Annotated[bool, CHANGEABLE]
    grad_clip_norm: Annotated[float | None, above(0), CHANGEABLE]
    ema_decay: Annotated[float | None, FRACTION]
    validate_every: Annotated[float, above(0), CHANGEABLE]
    validate_every_steps: Annotated[int | None, at_least(1), CHANGEABLE]
    max_eval_batches: Annotated[int | None, at_least(1)]
    patience: Annotated[float | None, above(0), CHANGEABLE]
    keep_lowest_loss: Annotated[int, at_least(0), CHANGEABLE]
    keep_every: Annotated[int | None, at_least(1), CHANGEABLE]
    save_every_minutes: Annotated[float | None, above(0), CHANGEABLE]
    max_nonfinite_steps: Annotated[int, at_least(1), CHANGEABLE]
    num_workers: Annotated[int | None, at_least(1), CHANGEABLE]

    @property
    def images_per_batch(self) -> int:
        """The batch size as a number, once ``auto`` has become one."""
        if self.batch_size == "auto":
            raise ValueError("trainer.batch_size=auto is a number only once the network is built")
        return self.batch_size
