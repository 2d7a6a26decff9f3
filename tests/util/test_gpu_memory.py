"""A GPU without room is known by any error that torch and its libraries make of it."""

from __future__ import annotations

import pytest
import torch

from astroclf.util.gpu_memory import no_room

ALLOCATOR = torch.OutOfMemoryError(  # as of torch 2.11
    "CUDA out of memory. Tried to allocate 2.44 GiB. GPU 0 has a total capacity of 79.18 GiB of which 1.19 GiB is "
    "free. Process 1234 has 77.98 GiB memory in use. Of the allocated memory 76.00 GiB is allocated by PyTorch."
)
CUBLAS = RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ALLOCATOR, "(2.44 GiB more were wanted; of 79.18 GiB, 1.19 GiB were free). Take a smaller batch_size, or the"),
        (RuntimeError("CUDA error: out of memory\nCUDA kernel errors might"), "memory. Take a smaller batch_size, or"),
        (CUBLAS, "`nvidia-smi` shows"),
        (RuntimeError("CUDA error: device-side assert triggered"), None),
        (MemoryError("CUDA out of memory"), None),
    ],
)
def test_a_gpu_without_room_is_told_from_any_error(error, told):
    known = no_room(error, "batch_size")
    assert (known is None) == (told is None)
    assert told is None or told in str(known)


def test_a_verb_without_a_batch_size_names_none():
    assert "were free). Take the CPU (trainer.device=cpu)." in str(no_room(ALLOCATOR))
