"""When the network of a training is compiled: where that is asked for, and where it pays."""

from __future__ import annotations

import warnings
from typing import Literal

import torch
from torch import nn

from astroclf.errors import DeviceError
from astroclf.util.logs import log

# So many pixels of all images, as often as they are seen. On an H200, where a ResNet18 trains on 6e8 a second, that is
# three minutes; it took 20 to 40 s to compile its steps and the augmentation, and a third off each step
# (experiments/speed_gpu.md). Slower GPUs gain earlier.
PAYS_FROM = 10**11


def compile_network(
    network: nn.Module, asked: bool | Literal["auto"], device: torch.device, pixels: int, *, alone: bool = True
) -> bool:
    """Let a network be compiled when it is first called, if it is to be, and tell if it is.

    With ``auto``, it is to be in a training on one GPU of at least `PAYS_FROM` pixels. Nothing is timed for it: the
    same command gives the same bits again. Where the compiler does not work, or this network is too much for it, the
    network is left as it is. On CPUs compiling was never seen to gain.

    Parameters
    ----------
    network
        Already on the device.
    asked
        ``trainer.compile``.
    pixels
        Of all images that the training will see, as often as it sees them.
    alone
        Whether no other process shares the training.
    """
    if asked == "auto":
        if device.type != "cuda" or not alone or pixels < PAYS_FROM:
            return False
        try:
            check_compiler(device)
        except Exception as error:  # of the compiler, of what it calls, of the driver
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            log.info("torch.compile, which would pay in a run as long as this one, does not work here: %s", reason)
            return False
        log.info("The run is long enough to compile the network first (trainer.compile=false leaves it as it is).")
    if asked:
        warnings.filterwarnings("ignore", "TensorFloat32 tensor cores")  # torch advises less exact sums
        torch._dynamo.config.suppress_errors = asked == "auto"
        network.compile()
    return bool(asked)


def check_compiler(device: torch.device) -> None:
    """Let a compiled function and the function itself answer alike on the device.

    Raises
    ------
    DeviceError
        It returns something else than the function.
    Exception
        As the compiler has it, what it calls, or the driver.
    """
    numbers = torch.linspace(-3, 3, 1000, device=device)
    if not torch.allclose(torch.compile(_curve)(numbers), _curve(numbers), atol=1e-5):
        raise DeviceError(
            "A compiled function does not return what the function returns. Leave trainer.compile=false, and try "
            "another torch."
        )


def _curve(numbers: torch.Tensor) -> torch.Tensor:
    return numbers.sin() * numbers.exp() + numbers.cos()
