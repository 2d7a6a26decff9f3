"""Two hosts on one machine: network, mount and name spaces, a cable from each to a third that has the servers.

Linux and root alone. Each host has a disk of its own where the work is done, and both have the same name.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVERS = "10.77.0.1"  # their address, as every host sees it
NAME = "twin"


def why_not() -> str | None:
    """Return why hosts cannot be made here; None where they can."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare"))):
        return "needs root, `ip` and `unshare`, for network namespaces"
    name = f"acf-{secrets.token_hex(3)}"
    if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode != 0:
        return "no network namespaces can be made here"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


class Host:
    """A network namespace whose processes can be stopped, gone on with and killed together, and its cable cut."""

    def __init__(self, number: int, servers: str) -> None:
        self.space, self._cable = f"{servers}-{number}", f"v{secrets.token_hex(3)}"
        _ip("netns", "add", self.space)
        here, there = f"{self._cable}a", f"{self._cable}b"
        _ip("link", "add", here, "type", "veth", "peer", "name", there)
        for end, space, address in ((here, self.space, 2), (there, servers, 1)):
            _ip("link", "set", end, "netns", space)
            _ip("-n", space, "addr", "add", f"10.77.{number}.{address}/24", "dev", end)
            _ip("-n", space, "link", "set", end, "up")
        _ip("-n", self.space, "link", "set", "lo", "up")
        _ip("-n", self.space, "route", "add", SERVERS, "via", f"10.77.{number}.1")

    def start(self, words: list[str], disk: Path, environment: dict[str, str], output: Path) -> subprocess.Popen:
        """Start a command in `disk`, which is a new one that no other command sees; what it prints goes to a file."""
        script = f'hostname {NAME} && mount -t tmpfs none "$0" && cd "$0" && exec "$@"'
        space = ["ip", "netns", "exec", self.space, "unshare", "--mount", "--uts"]
        with output.open("a") as log:
            return subprocess.Popen(
                [*space, "sh", "-c", script, str(disk), *words], env=environment, stdout=log, stderr=log,
                start_new_session=True,
            )  # fmt: skip

    def signal_all(self, number: signal.Signals) -> int:
        """Send a signal to every process of this host; returns how many there were."""
        found = subprocess.run(["ip", "netns", "pids", self.space], capture_output=True, text=True, check=True)
        pids = [int(pid) for pid in found.stdout.split()]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        return len(pids)

    def cut_cable(self) -> None:
        """Let nothing out any more: not even word that its processes have ended."""
        _ip("-n", self.space, "link", "set", f"{self._cable}a", "down")


@contextmanager
def two_hosts() -> Iterator[tuple[tuple[str, ...], Host, Host]]:
    """Give the words by which a server is started where both hosts reach it, and the hosts, to a block."""
    servers = f"acf-{secrets.token_hex(3)}"
    _ip("netns", "add", servers)
    hosts: list[Host] = []
    try:
        _ip("-n", servers, "addr", "add", f"{SERVERS}/32", "dev", "lo")
        _ip("-n", servers, "link", "set", "lo", "up")
        for number in (1, 2):
            hosts.append(Host(number, servers))
        yield ("ip", "netns", "exec", servers), hosts[0], hosts[1]
    finally:
        for host in hosts:
            host.signal_all(signal.SIGKILL)
        time.sleep(0.2)
        for space in (*(host.space for host in hosts), servers):
            subprocess.run(["ip", "netns", "del", space], check=False)
