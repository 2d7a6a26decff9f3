"""What the tests of a GPU share."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

gpu = pytest.mark.gpu
DEVICES = ["cpu", pytest.param("cuda", marks=gpu)]


@contextmanager
def waiting_is_an_error() -> Iterator[None]:
    """Let torch raise an error where the CPU waits for the GPU."""
    try:
        with warnings.catch_warnings():  # torch says once in a process that this finds most waits, and not all
            warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
            torch.cuda.set_sync_debug_mode("error")
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")
