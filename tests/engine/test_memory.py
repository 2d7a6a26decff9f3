import mmap
import re
import sys

import numpy as np
import pytest
import torch

from astroclf.engine import memory
from astroclf.engine.memory import MemoryPeaks
from tests.on_gpu import gpu

PROCESS, GPU = "process_memory_peak_gb", "gpu_memory_peak_gb"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no peak of an interval")
def test_the_peak_of_the_process_is_that_since_the_last_look():
    peaks = MemoryPeaks(torch.device("cpu"))
    before = peaks.take()[PROCESS]
    with mmap.mmap(-1, 200_000_000) as held:  # not of the heap, which keeps what is freed
        np.frombuffer(held, np.uint8)[::4096] = 1
    assert before + 0.15 < peaks.take()[PROCESS] < before + 0.5
    assert peaks.take()[PROCESS] < before + 0.15  # it is given back, and forgotten
    assert peaks.highest[PROCESS] > before + 0.15
    assert GPU not in peaks.highest


def test_where_a_peak_cannot_be_forgotten_it_is_left_out(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "such")
    assert MemoryPeaks(torch.device("cpu")).take() == {}


@gpu
def test_the_peak_of_the_gpu_is_that_since_the_last_look():
    device = torch.device("cuda", torch.cuda.current_device())
    peaks = MemoryPeaks(device)
    before = peaks.take()[GPU]
    held = torch.ones(50_000_000, device=device)
    del held
    assert peaks.take()[GPU] == pytest.approx(before + 0.2, abs=0.01)
    assert peaks.take()[GPU] == pytest.approx(before, abs=0.01)
    assert peaks.highest[GPU] > before + 0.15


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep no peak of an interval")
def test_the_peak_is_told_and_not_forgotten():
    peaks = MemoryPeaks(torch.device("cpu"))
    told = peaks.told()
    taken = float(re.fullmatch(r"At most (\S+) GB of memory are taken\.", told)[1])
    assert taken == pytest.approx(peaks.take()[PROCESS], rel=0.1)


def test_nothing_is_told_where_nothing_is_known(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "no" / "such")
    assert MemoryPeaks(torch.device("cpu")).told() == ""


@gpu
def test_the_gpus_peak_is_told_beside_all_that_it_has():
    device = torch.device("cuda", torch.cuda.current_device())
    peaks = MemoryPeaks(device)
    held = torch.ones(1_250_000_000, device=device)  # 5 GB
    taken, room = re.fullmatch(r"At most (\S+) of the GPU's (\d+) GB of memory are taken\.", peaks.told()).groups()
    assert float(taken) == pytest.approx(torch.cuda.memory_allocated(device) / 1e9, rel=0.1)
    assert float(taken) < float(room)
    del held
