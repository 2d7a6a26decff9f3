"""What a user is told of a GPU that has no room left, told from whatever error torch made of it."""

from __future__ import annotations

import re

from astroclf.errors import DeviceError

_SIGNS = (  # of torch's allocator; of the driver, which has no room for a program; of libraries that ask it themselves
    "CUDA out of memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
)
_SIZE = r"([\d.]+ \w+)"
_ASKED = re.compile(rf"Tried to allocate {_SIZE}\. GPU \d+ has a total capacity of {_SIZE} of which {_SIZE}")


def no_room(error: BaseException, batch_key: str | None = None) -> DeviceError | None:
    """Return what a user is told where a GPU had no room; None for an error about anything else.

    Parameters
    ----------
    batch_key
        The key that says how many images the network gets at once, as people type it, where there is one.
    """
    if not isinstance(error, RuntimeError) or not any(sign in str(error) for sign in _SIGNS):
        return None
    asked = _ASKED.search(str(error))
    sizes = f" ({asked[1]} more were wanted; of {asked[2]}, {asked[3]} were free)" if asked else ""
    fewer = f"a smaller {batch_key}, or " if batch_key else ""
    return DeviceError(
        f"The GPU ran out of memory{sizes}. Take {fewer}the CPU (trainer.device=cpu). `nvidia-smi` shows which other "
        "programs hold memory of it."
    )
