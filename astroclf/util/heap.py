"""The memory that a process has freed: kept for what it asks for next."""

from __future__ import annotations

import ctypes
from contextlib import suppress

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # mallopt(3)
_LARGEST, _KEPT = 1 << 30, (1 << 31) - 1  # bytes: above the one, memory goes back at once; above the other, at the end


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for what is asked for next; return whether it is one that can.

    The activations of a training are freed and asked for again in every step. Pages that went back to the system are
    taken, zeroed and mapped anew each time: 20,000 in a step of a ResNet18 over 32 images of 128 px. glibc keeps them
    if it is told to, see mallopt(3); other C libraries go on as they do.
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_MMAP_THRESHOLD, _LARGEST) and mallopt(_TRIM_THRESHOLD, _KEPT))
    return False
