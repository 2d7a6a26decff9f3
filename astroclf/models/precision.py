"""Which device, and in which number format a training step runs on it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch

from astroclf.errors import ConfigError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": None}


def choose_device(name: str) -> torch.device:
    """Return the torch device that ``auto`` (a GPU where there is one), ``cuda`` or ``cpu`` names.

    Raises
    ------
    ConfigError
        ``cuda`` on a machine where torch finds no GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise ConfigError(
            "trainer.device=cuda, but torch finds no CUDA GPU here (`nvidia-smi` tells whether the driver does). "
            "Set trainer.device=cpu, or auto to take a GPU only where there is one."
        )
    return torch.device("cuda", torch.cuda.current_device())


def make_deterministic(enabled: bool) -> None:
    """Make the same bits of the same inputs on the same device, or let CUDA choose the fastest kernel."""
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    # A warning where an operation has no deterministic form. use_deterministic_algorithms would import inductor, 4 s.
    torch.set_deterministic_debug_mode("warn" if enabled else "default")
    torch.backends.cudnn.benchmark = not enabled


@dataclass(frozen=True)
class Precision:
    """Autocast and loss scaling for one device.

    Attributes
    ----------
    name : str
        ``bf16``, ``fp16`` or ``fp32``.
    device : torch.device
    """

    name: str
    device: torch.device

    def autocast(self) -> torch.autocast:
        """Return the context in which a forward pass runs in this number format."""
        dtype = DTYPES[self.name]
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def scaler(self) -> torch.amp.GradScaler:
        """Return a GradScaler.

        It scales the loss in fp16; in every format it skips steps whose gradients are not finite.
        """
        if self.name == "fp16":
            return torch.amp.GradScaler(self.device.type)
        return torch.amp.GradScaler(self.device.type, init_scale=1.0)


def choose_precision(name: str, device: torch.device) -> Precision:
    """Return the named number format; ``auto`` takes the fastest that the device does well.

    That is bf16 where the hardware multiplies it (Ampere and newer; a CPU with AMX or AVX512-BF16), fp16 on older
    GPUs, fp32 otherwise.

    Raises
    ------
    ConfigError
        fp16 on a CPU, which has no fast path for it and would need loss scaling for nothing.
    """
    if name == "fp16" and device.type == "cpu":
        raise ConfigError("trainer.precision=fp16 is for GPUs. On the CPU set bf16, fp32 or auto.")
    if name != "auto":
        return Precision(name, device)
    if device.type == "cuda":
        return Precision("bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16", device)
    abilities = torch.cpu.get_capabilities()
    return Precision("bf16" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "fp32", device)
