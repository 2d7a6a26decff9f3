"""What a training needs of the place it runs at, each thing tried for real: `astroclf doctor`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from rich.filesize import decimal
from torch import nn
from torch.nn import functional

from astroclf.errors import DeviceError, DiskError
from astroclf.models.compiling import check_compiler
from astroclf.models.precision import choose_device, choose_precision
from astroclf.registry.permission import try_registry
from astroclf.run.environment import device_name
from astroclf.run.parts import build_backbone
from astroclf.settings.config import Config, DoctorConfig
from astroclf.settings.training import TrainerSettings
from astroclf.tracking.address import hide_password
from astroclf.tracking.trial_run import try_files_of, try_run
from astroclf.util.disk import try_folder
from astroclf.util.threads import available_cores
from astroclf.util.watched import Answer, Call

LEAST_ROOM = 1_000_000_000  # bytes: checkpoints of one ResNet18 with AdamW, or a small data set of 128 px
_PATIENT = 10  # times the limit of the others: what compiles, or fetches weights
_ELSEWHERE = "Make room there and have the right to write, or choose another folder."
_TAKE_LOCK = "import sys, filelock; filelock.FileLock(sys.argv[1], timeout=0).acquire()"


@dataclass(frozen=True)
class Probe:
    """One thing to try.

    Attributes
    ----------
    what, where
        By which people know it.
    remedy
        What to do where it does not work and the error does not say so.
    needed
        Whether what was typed needs it: otherwise it is told, and is no fault.
    """

    what: str
    where: str
    call: Call
    remedy: str
    needed: bool = True

    def is_fault(self, answer: Answer) -> bool:
        """Return whether an answer means that something which is needed does not work."""
        return self.needed and not answer.works

    def told(self, answer: Answer) -> tuple[str, str]:
        """Return an answer as a line, and what is to be said below it: what is wrong, and what to do."""
        if answer.works:
            return self._line("works", f"{answer.text}, {answer.seconds:.1f} s"), ""
        remedy = "" if answer.in_words else f". {self.remedy}"
        verdict = "does not work" if self.needed else "not needed"
        return self._line(verdict, ""), f"{answer.text}{remedy}"

    def _line(self, verdict: str, details: str) -> str:
        return f"{self.what:<9} {verdict:<14} {self.where}  {details}".rstrip()


def of_record(config: DoctorConfig) -> list[Probe]:
    """Return what is to be tried of MLflow; nothing where runs are not recorded there."""
    tracking = config.tracking
    if not tracking.uri:
        return []
    uri, root, where = tracking.uri, tracking.artifact_root or None, hide_password(tracking.uri)
    remedy = "Look whether the server runs and a firewall lets this host through, or correct tracking.uri."
    probe = partial(Call, limit=config.seconds)
    found = [
        Probe("database", where, probe(partial(try_run, uri, root)), remedy),
        Probe(
            "files", str(root or "where MLflow keeps them"),
            probe(partial(try_files_of, uri, str(tracking.experiment), root)), remedy,
        ),
    ]  # fmt: skip
    if config.registers:
        found.append(
            Probe("registry", config.model_name, probe(partial(_try_registry, uri, config.model_name)), remedy)
        )
    return found


def of_machine(config: DoctorConfig) -> list[Probe]:
    """Return what is to be tried of disks, device and weights; what takes longest comes last."""
    limit, patient, trainer = config.seconds, _PATIENT * config.seconds, config.trainer
    weights = config.backbone.weights if isinstance(config.backbone.weights, str) else "random weights"
    backbone = config.backbone.target.rpartition(".")[2]
    return [
        Probe(
            "folder", config.folder, Call(partial(try_work_folder, Path(config.folder)), limit),
            "Choose another with hydra.run.dir= and hydra.sweep.dir=.",
        ),
        Probe(
            "cache", config.dataset.cache_dir, Call(partial(try_cache, Path(config.dataset.cache_dir)), limit),
            "Choose another with dataset.cache_dir=.",
        ),
        Probe(
            "device", trainer.device, Call(partial(try_device, trainer), limit),
            "Look whether driver and torch fit each other, or train with trainer.device=cpu.",
        ),
        Probe(
            "weights", f"{backbone}, {weights}", Call(partial(try_weights, config), patient),
            "Name a file with backbone.weights=, or fetch them where there is a network.",
        ),
        Probe(
            "compiler", "torch.compile", Call(partial(try_compiler, trainer.device), patient),
            "Install a C++ compiler, and Python's header files (Debian: apt install g++ python3-dev), or leave "
            "trainer.compile=false.",
            needed=trainer.compile is True,
        ),
    ]  # fmt: skip


def _try_registry(uri: str, name: str) -> str:
    try_registry(uri, name)
    return "would take a model"


def try_work_folder(folder: Path) -> str:
    """Try whether files, and locks between processes, hold in a folder or the nearest above that is there.

    Raises
    ------
    DiskError
        They do not, or there is no room.
    """
    with _scratch(folder) as place:
        lock = FileLock(place / "lock")
        with lock:
            second = [sys.executable, "-c", _TAKE_LOCK, str(place / "lock")]
            if subprocess.run(second, capture_output=True, check=False).returncode == 0:
                raise DiskError(
                    f"Two processes at once get the lock of a file in {place.parent}: runs and trials there could be "
                    "worked on twice. Mount it with file locks (NFS version 4 has them), or choose another folder with "
                    "hydra.run.dir= and hydra.sweep.dir=."
                )
        return f"files and their locks, {_room(place)}"


def try_cache(folder: Path) -> str:
    """Try whether decoded images can be kept in a folder and mapped into memory.

    Raises
    ------
    DiskError
        They cannot, or there is no room.
    """
    with _scratch(folder) as place:
        written = np.lib.format.open_memmap(place / "images.npy", "w+", np.uint8, (16, 64, 64, 3))
        written[:] = 7
        written.flush()
        del written
        if not (np.load(place / "images.npy", mmap_mode="r") == 7).all():
            raise DiskError(
                f"{place.parent} does not return what was written to it. Choose another dataset.cache_dir=."
            )
        return f"a mapped file, {_room(place)}"


def try_device(settings: TrainerSettings) -> str:
    """Take one training step on the device and in the number format of a training; returns which they are.

    Raises
    ------
    ConfigError
        There is no such device.
    DeviceError
        It computes what is not finite.
    """
    device = choose_device(settings.device)
    precision = choose_precision(settings.precision, device)
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 4)
    ).to(device)
    optimizer = torch.optim.AdamW(network.parameters())
    images_BCHW, labels_B = torch.randn(8, 3, 64, 64, device=device), torch.arange(8, device=device) % 4
    with precision.autocast():
        loss = functional.cross_entropy(network(images_BCHW).float(), labels_B)
    loss.backward()
    optimizer.step()
    if not all(bool(torch.isfinite(value).all()) for value in (loss, *network.parameters())):
        raise DeviceError(
            f"One step in {precision.name} on {device_name(device)} gives numbers that are not finite. Try "
            "trainer.precision=fp32, and another driver or torch."
        )
    if device.type == "cpu":
        return f"{available_cores()} cores, one step in {precision.name}"
    free, whole = torch.cuda.mem_get_info(device)
    return f"{device_name(device)}, {decimal(free)} of {decimal(whole)} free, one step in {precision.name}"


def try_compiler(device_name: str) -> str:
    """Let a compiled function and the function itself answer alike on the device; what the compiler writes is removed.

    Raises
    ------
    DeviceError
        It returns something else than the function.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        for cache in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR"):
            os.environ[cache] = folder  # so that it compiles now, and not once upon a time
        check_compiler(choose_device(device_name))
    return "one function compiled"


def try_weights(config: Config) -> str:
    """Build the backbone as a training begins with it; weights that have to be fetched are, and stay."""
    backbone, _ = build_backbone(config)
    return f"{sum(weights.numel() for weights in backbone.parameters()) / 1e6:.1f} M parameters"


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """Give a new folder in one, or in the nearest above it that is there, to a block; it is removed."""
    folder = folder.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    try:
        try_folder(there)
    except OSError as error:
        raise DiskError(f"Nothing can be written in {there}: {error.strerror or error}. {_ELSEWHERE}") from error
    with tempfile.TemporaryDirectory(prefix=".astroclf-trial-", dir=there) as place:
        yield Path(place)


def _room(folder: Path) -> str:
    free = shutil.disk_usage(folder).free
    if free < LEAST_ROOM:
        raise DiskError(f"{folder.parent} has {decimal(free)} of room left. {_ELSEWHERE}")
    return f"{decimal(free)} of room"
