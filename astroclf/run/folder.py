"""The folder of one run: how people name it, what lies in it, and that one process at a time works in it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from astroclf.errors import CheckpointError, ConfigError, DiskError
from astroclf.util.atomic import clear_leftovers, write_text
from astroclf.util.disk import in_one_paragraph
from astroclf.util.invocation import Command, typed_command
from astroclf.util.lazy import lazy_import
from astroclf.util.ranks import launch

if TYPE_CHECKING:
    import filelock
else:
    filelock = lazy_import("filelock")  # its asyncio costs a start 10 ms


@dataclass(frozen=True)
class RunFolder:
    """A run's folder, and the checkpoint that the run goes on from.

    Attributes
    ----------
    path : Path
        Relative to where the user stands, if it lies below.
    checkpoint : Path or None
        None for a run that begins here.
    """

    path: Path
    checkpoint: Path | None = None

    @classmethod
    def new(cls, path: str | Path) -> RunFolder:
        """Return the folder of a run that begins; it is made when the run takes its lock."""
        return cls(shown_path(Path(path)))

    @classmethod
    def resumed(cls, named: str) -> RunFolder:
        """Return the folder and the checkpoint that ``resume=`` names.

        Raises
        ------
        CheckpointError
            Neither a run folder with a checkpoint nor a checkpoint in one.
        """
        given = Path(os.path.abspath(Path(named).expanduser()))  # the run folder is also above a bare file name
        checkpoint = given if given.is_file() else given / "checkpoints" / "last.pt"
        folder = cls(shown_path(checkpoint.parent.parent), checkpoint)
        if not str(named).strip() or not checkpoint.is_file() or not folder.config_file.is_file():
            raise CheckpointError(
                f"resume={named} names no run that can go on: {folder.config_file} and {checkpoint} must both exist. "
                "Give a run folder, experiments/runs/<dataset>/<time>-<id>, or a file in its checkpoints/. A run that "
                "was stopped before its first checkpoint starts again with its own command."
            )
        return folder

    @property
    def config_file(self) -> Path:
        """The resolved configuration, whose first line is the command that began the run."""
        return self.path / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        """What came of the run, as flat JSON."""
        return self.path / "metrics.json"

    @property
    def last_checkpoint(self) -> Path:
        """The newest state of the training."""
        return self.path / "checkpoints" / "last.pt"

    def command(self) -> str:
        """Return the command that began the run."""
        with self.config_file.open(encoding="utf-8") as file:
            return file.readline().removeprefix("# ").rstrip("\n")

    def write_config(self, plain: Mapping[str, Any], command: str) -> None:
        """Write ``config.yaml`` below the command; what the run was resumed from is left out."""
        write_text(self.config_file, f"# {command}\n{OmegaConf.to_yaml(OmegaConf.create({**plain, 'resume': None}))}")

    def metrics(self) -> dict[str, Any] | None:
        """Return what ``metrics.json`` says; None before the training is complete."""
        try:
            return dict(json.loads(self.metrics_file.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write ``metrics.json``, the last file of a run: one that has it is complete.

        It is flat, sorted by name, and valid JSON: a value that is not finite is written as null.
        """
        plain = {name: _plain(value) for name, value in sorted(metrics.items())}
        write_text(self.metrics_file, json.dumps(plain, indent=2, ensure_ascii=False, allow_nan=False) + "\n")

    @contextmanager
    def naming_how_to_go_on(self) -> Iterator[None]:
        """Say, where the disk refuses something in the block, how to go on from what is there.

        Raises
        ------
        DiskError
            The disk refused, and there is a checkpoint.
        """
        try:
            yield
        except Exception as error:
            refused = in_one_paragraph(error)
            if refused is None or not self.last_checkpoint.is_file():
                raise
            raise DiskError(f"{refused} Go on with:\n  {resume_command(self.path)}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process out: a run that was put in a queue twice would write over itself.

        Raises
        ------
        CheckpointError
            Another process works here, or the folder cannot be written to.
        """
        lock = filelock.FileLock(self.path / ".lock", timeout=0)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise CheckpointError(f"Another process is working in {self.path}. Wait for it, or stop it.") from None
        except OSError as error:
            raise CheckpointError(f"The run folder {self.path} cannot be written to: {error.strerror}.") from error
        try:
            clear_leftovers(self.path, self.last_checkpoint.parent, self.path / "plots")
            yield
        finally:
            lock.release()


def _plain(value: Any) -> Any:
    value = value.item() if hasattr(value, "item") else value  # numpy's numbers
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise TypeError(f"metrics.json is flat: numbers and text, not {type(value).__name__}")


def shown_path(path: Path) -> Path:
    """Return a path relative to where the user stands, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def resume_command(folder: Path) -> str:
    """Return what to type to go on with a run, quoted for the shell and for Hydra."""
    name = str(folder)
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+", name):
        name = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return str(Command(typed_command().program, (f"resume={name}",)))


def run_folder(dataset: str, resume: str | None, kind: str = "runs") -> str:
    """Return where a run leaves its files: a new folder below ``experiments/<kind>``, or the one that is resumed."""
    if resume:
        return str(RunFolder.resumed(resume).path)
    above, now, token = f"experiments/{kind}/{_one_folder('dataset.name', dataset)}", datetime.now().astimezone(), ""
    if job := launch().job:  # whose processes may be started again, and find what they began
        token = hashlib.sha256(f"{job} {typed_command().arguments}".encode()).hexdigest()[:6]
        for begun in Path(above).glob(f"*-{token}"):
            return str(begun)
    return f"{above}/{now:%Y-%m-%d_%H-%M-%S}-{token or secrets.token_hex(3)}"


def sweep_folder(dataset: str, study: str | None) -> str:
    """Return where a sweep leaves its trials: the study's folder, or that of a new study."""
    if study:
        return f"experiments/sweeps/{_one_folder('hydra.sweeper.study_name', study)}"
    now = datetime.now().astimezone()
    return f"experiments/sweeps/{_one_folder('dataset.name', dataset)}_{now:%Y-%m-%d_%H-%M-%S}"


def _one_folder(key: str, name: str) -> str:
    """Return a name that a folder of runs can have: a name never leads out of the folder that it stands in."""
    if not str(name).strip(". ") or "/" in str(name) or os.sep in str(name):
        raise ConfigError(f"'{key}' is {name!r}: a folder of runs has that name. Choose one without / in it.")
    return str(name)


OmegaConf.register_resolver("run_folder", run_folder, use_cache=True, replace=True)
OmegaConf.register_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
