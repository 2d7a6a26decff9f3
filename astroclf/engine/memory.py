"""How much memory a training takes at most, on the GPU and of this process, from one look to the next."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import torch

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
OF_GPU, OF_PROCESS = "gpu_memory_peak_gb", "process_memory_peak_gb"
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
        peaks = self._since_reset()
        self.highest |= {name: max(value, self.highest.get(name, 0.0)) for name, value in peaks.items()}
        self._reset()
        return peaks

    def told(self) -> str:
        """Say in a sentence what was taken since the last look: of the GPU, or where there is none, by this process."""
        peaks = self._since_reset()
        if self._device.type == "cuda":
            room = torch.cuda.get_device_properties(self._device).total_memory / 1e9
            return f"At most {peaks[OF_GPU]:.2g} of the GPU's {room:.0f} GB of memory are taken."
        return f"At most {peaks[OF_PROCESS]:.2g} GB of memory are taken." if OF_PROCESS in peaks else ""

    def _since_reset(self) -> dict[str, float]:
        peaks: dict[str, float] = {}
        if self._device.type == "cuda":
            peaks[OF_GPU] = torch.cuda.max_memory_allocated(self._device) / 1e9
        if self._of_interval and (resident := _resident_peak()) is not None:
            peaks[OF_PROCESS] = resident / 1e9
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
