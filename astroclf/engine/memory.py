"""How much memory a training takes at most, on the GPU and of this process, from one look to the next."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_RESET_PEAK = "5"  # proc(5): set the peak of the resident memory back to what is resident now


class MemoryPeaks:
    """The largest memory between two looks, and in all, in GB (10⁹ bytes).

    ``gpu_memory_peak_gb`` is what torch's tensors took on the GPU. ``process_memory_peak_gb`` is the
    resident memory of this process, as Linux keeps it; the pages of the image cache that are mapped in count, though
    the system may drop them. Other systems keep only the peak of a process's whole life, which in a worker of a sweep
    is that of another trial: there it is left out.

    Parameters
    ----------
    device : torch.device
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.highest: dict[str, float] = {}  # by name
        self._reset()

    def take(self) -> dict[str, float]:
        """Return the peaks since the last look, or since this object was made."""
        peaks: dict[str, float] = {}
        if self._device.type == "cuda":
            peaks["gpu_memory_peak_gb"] = torch.cuda.max_memory_allocated(self._device) / 1e9
        if self._of_interval and (resident := _resident_peak()) is not None:
            peaks["process_memory_peak_gb"] = resident / 1e9
        self.highest |= {name: max(value, self.highest.get(name, 0.0)) for name, value in peaks.items()}
        self._reset()
        return peaks

    def _reset(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._of_interval = False
        with contextlib.suppress(OSError):  # no Linux, or a container that forbids it
            _CLEAR.write_text(_RESET_PEAK)
            self._of_interval = True


def _resident_peak() -> int | None:
    found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE)
    return int(found[1]) * 1024 if found else None
