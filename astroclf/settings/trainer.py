"""What a user can set about the training loop: the keys of ``conf/trainer``."""

from dataclasses import dataclass
from typing import Literal


@dataclass
class TrainerSettings:
    """The keys are explained, one by one, in ``conf/trainer/default.yaml``, whose values these defaults repeat."""

    epochs: int = 16
    batch_size: int = 32
    grad_accum_steps: int = 1
    max_steps: int | None = None
    device: Literal["auto", "cuda", "cpu"] = "auto"
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    channels_last: bool = True
    compile: bool = False
    deterministic: bool = True
    grad_clip_norm: float | None = 1.0
    ema_decay: float | None = None
    validate_every: float = 1.0
    validate_every_steps: int | None = None
    patience: float | None = None
    keep_lowest_loss: int = 1
    keep_every: int | None = None
    save_every_minutes: float | None = 10.0
    max_nonfinite_steps: int = 20
    num_workers: int | None = None
