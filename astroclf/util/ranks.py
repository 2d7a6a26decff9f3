"""The processes of one training that `torchrun` started: which of them this is, and what they tell each other."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from astroclf.errors import ConfigError, TrainingError
from astroclf.util.lazy import lazy_import

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import distributed
    from torch.nn import parallel
else:  # every command looks whether there are other processes
    np = lazy_import("numpy")
    torch = lazy_import("torch")
    distributed = lazy_import("torch.distributed")
    parallel = lazy_import("torch.nn.parallel")

Made = TypeVar("Made")

TIMEOUT = timedelta(hours=2)  # one host may still decode the data set where another finds it decoded


@dataclass(frozen=True)
class Launch:
    """What `torchrun` says to a process of the training that it started: its place among all, and on its host.

    Attributes
    ----------
    rank, count
        Which process this is, and of how many.
    local_rank, local_count
        Of those on this host.
    hosts
    job
        The same for all processes, also for those that are started again; empty where `torchrun` started none.
    """

    rank: int = 0
    count: int = 1
    local_rank: int = 0
    local_count: int = 1
    hosts: int = 1
    job: str = ""

    @property
    def is_shared(self) -> bool:
        """Whether there are other processes."""
        return self.count > 1

    @property
    def leads(self) -> bool:
        """Whether this is the process that talks, writes and records: the first, or the only one."""
        return self.rank == 0

    @property
    def launcher(self) -> str:
        """The command that started the processes, up to what they are told to run."""
        hosts = f" --nnodes={self.hosts}" if self.hosts > 1 else ""
        return f"torchrun{hosts} --nproc-per-node={self.local_count}"


def launch() -> Launch:
    """Read from the environment how this process was started."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE")
    if any(name not in os.environ for name in (*names, "MASTER_ADDR", "MASTER_PORT")):
        return Launch()
    rank, count, local_rank, local_count, hosts = (int(os.environ[name]) for name in names)
    return Launch(rank, count, local_rank, local_count, hosts, os.environ.get("TORCHELASTIC_RUN_ID", ""))


class Ranks:
    """What the processes of one training do together; a training of one process does it alone, at no cost.

    What talks to the others is to be called by all of them, in the same order.

    Parameters
    ----------
    of : Launch
    """

    def __init__(self, of: Launch = Launch()) -> None:
        self.rank, self.count, self.leads, self.is_shared = of.rank, of.count, of.leads, of.is_shared

    def part_of(self, values: np.ndarray) -> np.ndarray:
        """Return this process's part of an array, one of as many as there are processes, as even as can be."""
        return np.array_split(values, self.count)[self.rank] if self.is_shared else values

    def sum_(self, tensor: torch.Tensor) -> torch.Tensor:
        """Replace a tensor by its sum over all processes."""
        if self.is_shared:
            distributed.all_reduce(tensor)
        return tensor

    def mean_(self, tensors: Sequence[torch.Tensor]) -> None:
        """Replace tensors of floating-point numbers by their means over all processes."""
        if self.is_shared:
            for tensor in tensors:
                distributed.all_reduce(tensor)
                tensor.div_(self.count)

    def gather(self, value: Made) -> list[Made]:
        """Return the values of all processes, in their order."""
        if not self.is_shared:
            return [value]
        values: list[Any] = [None] * self.count
        distributed.all_gather_object(values, value)
        return values

    def from_first(self, make: Callable[[], Made] | None = None) -> Made:
        """Return to all processes what the first one makes; the others need not know how."""
        made = [make() if self.leads and make is not None else None]
        if self.is_shared:
            distributed.broadcast_object_list(made)
        return made[0]  # type: ignore[return-value]

    def add_gradients(self, parameters: Sequence[torch.Tensor]) -> bool:
        """Give gradients their mean over all processes; return whether one has none for some parameter."""
        everywhere = self.gather([parameter.grad is not None for parameter in parameters])
        for parameter, by_any in zip(parameters, map(any, zip(*everywhere, strict=True)), strict=True):
            if by_any and parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        self.mean_([parameter.grad for parameter in parameters if parameter.grad is not None])
        return not all(map(all, everywhere))

    def in_step(self, model: torch.nn.Module, *, some_unreached: bool) -> torch.nn.Module:
        """Return a network whose backward passes give the mean of the gradients of all processes.

        Parameters
        ----------
        some_unreached
            Whether parameters that learn may be without a gradient, which takes a search for them in each step.
        """
        device = next(model.parameters()).device
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")  # by torch 2.15; not before
            return parallel.DistributedDataParallel(
                model,
                device_ids=[device] if device.type == "cuda" else None,
                broadcast_buffers=False,  # they are averaged before each validation
                find_unused_parameters=some_unreached,
            )

    @contextmanager
    def saying_who_is_lost(self, what_to_do: Callable[[], str]) -> Iterator[None]:
        """Tell in one paragraph that another process ended, where that is why this one cannot go on.

        Parameters
        ----------
        what_to_do
            Gives the last sentence.

        Raises
        ------
        TrainingError
            In place of what the libraries below say.
        """
        try:
            yield
        except RuntimeError as error:
            if not self.is_shared or not _is_of_connection(error):
                raise
            raise TrainingError(
                f"Another of the {self.count} processes that share this training ended, and so all do. Why, it says "
                f"above or on its host, unless it was killed. {what_to_do()}"
            ) from error


ALONE = Ranks()


class Agreement:
    """What processes see at different times, such as a signal, answered by all of them in the same step."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self._asked: tuple[Any, torch.Tensor] | None = None  # the last call's, on its way

    def on(self, *said: int, at_once: bool = False) -> list[int]:
        """Return the largest of what any process said in the call before this one; at first, zeros.

        Nobody waits: the answers travel while the next step is computed. `at_once` waits for those of this call. Alone,
        the answer is what is said.
        """
        if not self.ranks.is_shared:
            return list(said)
        before, numbers = self._asked, torch.tensor(said)
        self._asked = distributed.all_reduce(numbers, op=distributed.ReduceOp.MAX, async_op=True), numbers
        wanted = self._asked if at_once else before
        if wanted is None:
            return [0] * len(said)
        wanted[0].wait()
        return wanted[1].tolist()


@contextmanager
def joined() -> Iterator[Ranks]:
    """Join the other processes that `torchrun` started, if there are any, for the block.

    Raises
    ------
    TrainingError
        They cannot be reached.
    """
    of = launch()
    if not of.is_shared:
        yield ALONE
        return
    gpus = torch.cuda.device_count()
    if gpus:
        torch.cuda.set_device(of.local_rank % gpus)
    try:
        store, *_ = next(distributed.rendezvous("env://", timeout=TIMEOUT))
        # Processes that are started again may meet in the store where they met before, with the addresses of the dead.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        store = distributed.PrefixStore(f"astroclf/{attempt}/{of.count}", store)
        by = "cpu:gloo,cuda:nccl" if gpus >= of.local_count else "gloo"  # NCCL refuses two processes of one GPU
        distributed.init_process_group(by, store=store, rank=of.rank, world_size=of.count, timeout=TIMEOUT)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise TrainingError(
            f"The {of.count} processes of this training could not connect to each other: {reason}. Between hosts, "
            "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME name the network interface to take, and --rdzv-endpoint must be "
            "reachable from all of them."
        ) from error
    try:
        yield Ranks(of)
    finally:
        distributed.destroy_process_group()


def refuse_shared_gpu(device: torch.device) -> None:
    """Refuse more processes on this host than it has GPUs, where they train on these.

    Raises
    ------
    ConfigError
        With what to type.
    """
    of, gpus = launch(), torch.cuda.device_count()
    if device.type == "cuda" and of.local_count > gpus:
        raise ConfigError(
            f"torchrun started {of.local_count} processes on {socket.gethostname()}, which has {gpus} GPUs: each "
            f"process takes one. Give --nproc-per-node={gpus}, or trainer.device=cpu."
        )


def _is_of_connection(error: RuntimeError) -> bool:
    """Tell whether an error says that another process is gone."""
    text = str(error)
    named = any(word in text for word in ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer"))
    return named or isinstance(error, distributed.DistError)
