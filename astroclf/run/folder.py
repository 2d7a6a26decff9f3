"""A run's folder: how it is named on a command line, what lies in it, what goes on with it."""

from __future__ import annotations

import re
import secrets
import shlex
from datetime import datetime
from pathlib import Path

from omegaconf import OmegaConf

from astroclf.errors import CheckpointError


def resumed_run(resume: str) -> tuple[Path, Path]:
    """The run folder and the checkpoint that `resume=` names.

    Raises
    ------
    CheckpointError
        Neither a run folder with a checkpoint nor a checkpoint in one.
    """
    given = Path(resume).expanduser()
    checkpoint = given if given.is_file() else given / "checkpoints" / "last.pt"
    folder = checkpoint.parent.parent
    if not str(resume).strip() or not checkpoint.is_file() or not (folder / "config.yaml").is_file():
        raise CheckpointError(
            f"resume={resume} names no run that can go on: {folder / 'config.yaml'} and {checkpoint} must both exist. "
            "Give a run folder, experiments/runs/<dataset>/<time>-<id>, or a file in its checkpoints/. A run that was "
            "stopped before its first checkpoint starts again with its own command."
        )
    return folder, checkpoint


def shown_path(path: Path) -> Path:
    """A path relative to where the user stands, if it lies below."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def resume_command(folder: Path) -> str:
    """What to type to go on with a run, quoted for the shell and for Hydra."""
    name = str(folder)
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+", name):
        name = "'" + name.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return f"python -m astroclf.train {shlex.quote(f'resume={name}')}"


def first_command(folder: Path) -> str:
    """The command that began a run: the first line of its config.yaml."""
    with (folder / "config.yaml").open(encoding="utf-8") as file:
        return file.readline().removeprefix("# ").rstrip("\n")


def run_folder(dataset: str, resume: str | None) -> str:
    """Where a run leaves its files: a new folder, or the one that is resumed."""
    if resume:
        return str(resumed_run(resume)[0])
    now = datetime.now().astimezone()
    return f"experiments/runs/{dataset}/{now:%Y-%m-%d_%H-%M-%S}-{secrets.token_hex(3)}"


def sweep_folder(dataset: str, study: str | None) -> str:
    """Where a sweep leaves its trials: the study's folder, or that of a new study."""
    return f"experiments/sweeps/{study or f'{dataset}_{datetime.now().astimezone():%Y-%m-%d_%H-%M-%S}'}"


OmegaConf.register_resolver("run_folder", run_folder, use_cache=True, replace=True)
OmegaConf.register_resolver("sweep_folder", sweep_folder, use_cache=True, replace=True)
