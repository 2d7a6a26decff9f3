"""Other processes: what they are waited for, and where they can listen."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable


def wait_for(
    condition: Callable[[], object], *processes: subprocess.Popen, seconds: float = 240, every: float = 0.2
) -> None:
    """Wait until something is so, while all these processes live."""
    end = time.monotonic() + seconds
    while not condition():
        for process in processes:
            assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not come"
        time.sleep(every)


def free_port(host: str = "127.0.0.1") -> int:
    with socket.socket() as unused:
        unused.bind((host, 0))
        return int(unused.getsockname()[1])
