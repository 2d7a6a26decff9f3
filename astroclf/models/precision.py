"""Which device, and in which number format a training step runs on it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from torch import nn

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
            f"trainer.device=cuda, but {_why_no_gpu()}. "
            "Set trainer.device=cpu, or auto to take a GPU only where there is one."
        )
    return torch.device("cuda", torch.cuda.current_device())


def _why_no_gpu() -> str:
    """Say why torch has no GPU, as far as that can be told without one."""
    if torch.version.cuda is None:
        return (
            f"torch {torch.__version__} is a build for CPUs alone (https://pytorch.org/get-started has the command "
            "that installs the one for your GPU)"
        )
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown is not None:
        return f"CUDA_VISIBLE_DEVICES={shown} shows torch none of the GPUs here"
    return "torch finds no CUDA GPU here (`nvidia-smi` tells whether the driver does)"


def make_deterministic(enabled: bool, device: torch.device) -> None:
    """Make the same bits of the same inputs on a device, or let CUDA choose the fastest kernel."""
    if enabled:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts
    # A warning where an operation has no deterministic form. use_deterministic_algorithms would import inductor, 4 s.
    torch.set_deterministic_debug_mode("warn" if enabled else "default")
    # Nothing here reads uninitialised memory, and to fill it takes a kernel for each new tensor.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not enabled
    # Fused attention on a GPU adds its gradients up in any order, unless torch is to refuse whatever has no other form.
    fused = not enabled or device.type == "cpu"
    torch.backends.cuda.enable_flash_sdp(fused)
    torch.backends.cuda.enable_mem_efficient_sdp(fused)
    torch.backends.cuda.enable_cudnn_sdp(fused)


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

    def scaler(self) -> torch.amp.GradScaler | None:
        """Return what scales the loss where gradients would vanish in the number format: in fp16, else None."""
        return torch.amp.GradScaler(self.device.type) if self.name == "fp16" else None


def choose_precision(name: str, device: torch.device, trained: nn.Module | None = None) -> Precision:
    """Return the named number format; ``auto`` takes the fastest that the device does well.

    That is bf16 where the hardware multiplies it (Ampere and newer; a CPU with AMX or AVX512-BF16), fp16 on older
    GPUs, fp32 otherwise; on a CPU also to train a network of inverted bottlenecks. It follows from the network, and is
    not measured, so that all trials of a sweep, and a run that goes on, have the same.

    Parameters
    ----------
    trained
        The network, where it is to learn: without a backward pass, bf16 is the faster one for all.

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
    if trained is not None and _has_inverted_bottlenecks(trained):
        return Precision("fp32", device)
    abilities = torch.cpu.get_capabilities()
    return Precision("bf16" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "fp32", device)


def _has_inverted_bottlenecks(network: nn.Module) -> bool:
    """Tell whether a network is of MobileNet's or EfficientNet's kind: depthwise convolutions, and BatchNorm.

    Those are as wide as a block gets, and their backward pass is slow in bf16 on a CPU: in fp32 EfficientNet-Lite0
    trains 1.7 to 2.1 times as fast (experiments/training_format.md). ConvNeXt, whose depthwise convolutions are narrow
    beside its linear layers, has LayerNorm, and is faster in bf16.
    """
    layers = [*network.modules()]
    depthwise = any(isinstance(layer, nn.Conv2d) and 1 < layer.groups == layer.in_channels for layer in layers)
    return depthwise and any(isinstance(layer, nn.BatchNorm2d) for layer in layers)
