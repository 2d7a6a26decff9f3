import ctypes
import subprocess
import sys

import pytest

from astroclf.util import heap

SCRIPT = """
import resource
import numpy as np
from astroclf.util.heap import keep_freed_memory

def taken_anew():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(8):
        np.ones(50_000_000, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before, kept = taken_anew(), keep_freed_memory()
taken_anew()
print(before, taken_anew(), kept)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone can be told")
def test_the_pages_of_freed_memory_are_not_taken_from_the_system_again() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    before, after, kept = done.stdout.split()
    assert kept == "True"
    assert int(before) > 300  # pages of 4 kB, or of 2 MB
    assert int(after) < int(before) / 10


def test_another_c_library_goes_on_as_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heap.ctypes, "CDLL", lambda name: object())
    assert not heap.keep_freed_memory()
