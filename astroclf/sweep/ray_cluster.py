"""Workers of a sweep as actors of a Ray cluster, each with a process of its own on its node."""

from __future__ import annotations

import importlib.util
import logging
import os
import secrets
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from astroclf.errors import ConfigError
from astroclf.settings.sweep import RaySettings
from astroclf.sweep.pool import GRACE_SECONDS
from astroclf.sweep.process import WorkerProcess
from astroclf.sweep.worker import Answer
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import ray
else:  # an extra of its own
    ray = lazy_import("ray")

GIGABYTE = 10**9


class Host:
    """The actor: it starts a worker's process on its node, and passes on what that and the coordinator say.

    Ray ends an actor without warning, the process then notices and saves its trial.
    """

    def __init__(self, plan: bytes, folder: Path, number: int, key: str, place: Path) -> None:
        os.chdir(place)  # relative paths are the coordinator's
        self.worker = WorkerProcess(plan, folder, number, 1, key)

    def send(self, *command: Any) -> None:
        """Hand a command to the process."""
        self.worker.send(*command)

    def answer(self) -> Answer | None:
        """Return what the process has to say, if it says anything."""
        return self.worker.answer()

    def end(self, save: bool, seconds: float) -> None:
        """Ask the process to end, and wait for it."""
        self.worker.stop(save)
        self.worker.join(seconds)


class RayWorkers:
    """Makes the workers of a sweep, each an actor that asks Ray for what the settings say.

    Parameters
    ----------
    plan
        The pickled `SweepPlan`.
    folder
        The sweep's folder, which the nodes see under the same path.

    Raises
    ------
    ConfigError
        Ray is not installed, or no cluster answers.
    """

    def __init__(self, settings: RaySettings, plan: bytes, folder: Path) -> None:
        connect(settings)
        self.plan, self.folder = plan, folder
        self.actor = ray.remote(Host).options(
            num_cpus=settings.cpus,
            num_gpus=settings.gpus,
            memory=None if settings.mem_gb is None else int(settings.mem_gb * GIGABYTE),
            runtime_env=settings.env or None,
        )

    def __call__(self, number: int) -> RayWorker:
        """Start an actor; it waits until the cluster has what it asks for."""
        key = secrets.token_hex(8)
        return RayWorker(self.actor.remote(self.plan, self.folder, number, key, Path.cwd()), self.folder, number, key)


def connect(settings: RaySettings) -> None:
    """Join a Ray cluster, unless this process has already.

    Raises
    ------
    ConfigError
        Ray is not installed, or no cluster answers.
    """
    if importlib.util.find_spec("ray") is None:
        raise ConfigError(
            "hydra.sweeper.workers=ray needs Ray, which is not installed: pip install 'astroclf[ray]'. Or leave it "
            "out: the workers are then processes of this machine."
        )
    if ray.is_initialized():
        return
    ours = signal.getsignal(signal.SIGTERM)  # Ray takes it, and would end this process without a word
    try:
        ray.init(settings.address, logging_level=logging.WARNING, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise ConfigError(
            f"No Ray cluster answers at hydra.sweeper.ray.address={settings.address}: "
            f"{' '.join(str(error).split()).rstrip('.')}. Start one with ray start --head, or let Ray make one of this "
            "machine with hydra.sweeper.ray.address=local."
        ) from error
    finally:
        signal.signal(signal.SIGTERM, ours)


class RayWorker:
    """One worker as its pool knows it: an actor, which answers when it can."""

    def __init__(self, actor: Any, folder: Path, number: int, key: str) -> None:
        self.actor, self.number, self.key, self.busy = actor, number, key, False
        self.log = folder / "workers" / f"{number}.log"
        self._asked: Any = None  # a question that is not answered yet
        self._ending: Any = None

    def send(self, *command: Any) -> None:
        """Send a command, whose answer is waited for from now on."""
        self.actor.send.remote(*command)
        self.busy = True

    def answer(self) -> Answer | None:
        """Return what the worker has to say, if it says anything; the end of its actor is an answer too."""
        self._asked = self._asked or self.actor.answer.remote()
        if not ray.wait([self._asked], timeout=0)[0]:
            return None
        asked, self._asked = self._asked, None
        try:
            answer: Answer | None = ray.get(asked)
        except ray.exceptions.RayError as error:
            answer = "died", " ".join(str(error).split())
        if answer is not None:
            self.busy = False
            if answer[0] == "died":
                ray.kill(self.actor)
        return answer

    def stop(self, save: bool) -> None:
        """Ask its process to end, at once with its trial saved, or when it has nothing to do."""
        self._ending = self.actor.end.remote(save, GRACE_SECONDS)

    def join(self, seconds: float) -> None:
        """Wait for its end."""
        ray.wait([self._ending], timeout=seconds)

    def kill(self) -> None:
        """End the actor, and with it what is left of its process."""
        ray.kill(self.actor)
