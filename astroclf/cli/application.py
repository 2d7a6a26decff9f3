"""What every Hydra front door shares: a typed config for its job, and one paragraph for each error a user causes."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import sys
import textwrap
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from astroclf.config.compose import checked_as
from astroclf.config.resume import dotted_keys, resumed_config, split_changes
from astroclf.errors import AstroclfError, ConfigError, Interrupted
from astroclf.run.folder import RunFolder
from astroclf.settings.config import GROUPS, Config
from astroclf.settings.yaml_files import config_dir
from astroclf.util.logs import log_to_file
from astroclf.util.text import nearest


def checked(composed: DictConfig) -> Config:
    """The typed config of the job that Hydra is running; a resumed run's own config with the command line's changes."""
    hydra = HydraConfig.get()
    if composed.get("resume") is None:
        return checked_as(Config, composed)
    if hydra.mode != RunMode.RUN:
        raise ConfigError("A resumed run cannot be part of a multirun. Leave out -m, or leave out resume.")
    return resumed_config(RunFolder.resumed(composed.resume).path, composed.resume, _changes)


_began: list[bool] = []  # whether a job was reached
_config_name = ["config"]  # of the front door
_changes: list[str] = []  # of a resumed run, taken off the command line before Hydra reads it


def one_paragraph(job: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Make a Hydra job end a plain run with one paragraph and exit code 1 where the user can mend the cause."""

    @functools.wraps(job)  # Hydra names the log file after the module of the job
    def wrapped(composed: DictConfig) -> Any:
        _began.append(True)
        try:
            return job(composed)
        except AstroclfError as error:
            if _wants_traceback() or HydraConfig.get().mode != RunMode.RUN:
                raise
            folder = Path(HydraConfig.get().runtime.output_dir)
            if (folder / "config.yaml").exists():
                log_to_file(str(error), logging.ERROR)
            else:
                _leave_no_empty_folder(folder)
            raise SystemExit(report(error)) from None
        except Exception:
            log_to_file(traceback.format_exc(), logging.ERROR)
            raise

    return wrapped


def run_command(hydra_main: Callable[[], Any], config_name: str = "config") -> None:
    """Call a ``@hydra.main`` function; its user's errors, and Hydra's, end in one paragraph and a non-zero exit.

    Parameters
    ----------
    config_name
        Of the composition, whose keys are those that a wrong one is compared with.
    """
    _config_name[:] = [config_name]
    os.environ.setdefault(_OURS, "yes" if os.environ.get("HYDRA_FULL_ERROR", "0") in ("", "0") else "no")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises, and leaves the wording to us
    # Read when torch starts its threads. Threads that spin while they wait for each other starve as soon as anything
    # else runs on the machine: a training on two cores fell from 7.6 to 0.3 steps/s beside one other process.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    hydra_arguments, _changes[:] = split_changes(sys.argv[1:])
    sys.argv[1:] = hydra_arguments
    try:
        hydra_main()
    except AstroclfError as error:
        if _wants_traceback():
            raise
        raise SystemExit(report(error)) from None
    except (HydraException, OmegaConfBaseException) as error:
        if _wants_traceback():
            raise
        raise SystemExit(report(_explained(error))) from None
    except ValueError as error:  # such as loss=null
        if _wants_traceback() or _began:
            raise
        raise SystemExit(report(_without_choice(error))) from None
    except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
        if _wants_traceback() or _began:
            raise
        text = f"The run folder cannot be made: {error.filename}: {error.strerror}. Choose another with hydra.run.dir=."
        raise SystemExit(report(ConfigError(text))) from None
    except KeyboardInterrupt:
        raise SystemExit(report(Interrupted(_STOPPED, 130))) from None


_OURS = "ASTROCLF_WORDS_ERRORS"
_STOPPED = "Stopped by Ctrl-C. A run that has a checkpoint goes on with resume=RUN_FOLDER; what was cached is kept."


def _wants_traceback() -> bool:
    return os.environ.get(_OURS) == "no"


def report(error: AstroclfError) -> int:
    """Print an error as one paragraph on stderr; returns the exit code."""
    width = min(100, max(40, os.get_terminal_size().columns)) if sys.stderr.isatty() else 100
    label = "" if isinstance(error, Interrupted) else "Error: "
    paragraphs = f"{label}{error}".split("\n")
    lines = [  # an indented line is a command to copy: never broken
        text if text.startswith("  ") else textwrap.fill(text, width, break_long_words=False, break_on_hyphens=False)
        for text in paragraphs
    ]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return error.exit_code if isinstance(error, Interrupted) else 1


def _leave_no_empty_folder(folder: Path) -> None:
    """Remove the run folder that Hydra made for a run that never began; never where the user stands."""
    if Path.cwd().is_relative_to(folder):
        return
    (folder / ".lock").unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the first that is not empty ends it
        for path in [folder, *folder.parents][:4]:
            path.rmdir()


# ---- Hydra's errors in our words ------------------------------------------------------------------------------------


def _explained(error: Exception) -> AstroclfError:
    """A Hydra error with the nearest valid name, where the cause is a wrong one."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, AstroclfError):
            return cause
        cause = cause.__cause__ or cause.__context__
    text = " ".join(str(error).split())
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        names = [name for name in error.options if not name.startswith("_")]
        return ConfigError(f"There is no {group} called '{choice}'. {nearest(choice, names)}")
    if match := re.search(r"Could not override '([^']+)'", text):
        name = match[1].lstrip("+~")
        if name in _valid_names():
            group = name.partition(".")[0]
            return ConfigError(f"'{name}' is no key of the chosen {group}, only of another choice of it.")
        return ConfigError(f"'{name}' is no key of this configuration. {nearest(name, _valid_names())}")
    if match := re.search(r"Key '([^']+)' (?:is not in struct|not in)", text):
        return ConfigError(f"'{match[1]!s}' is no key of this configuration. {nearest(str(match[1]), _valid_names())}")
    return ConfigError(text)


def _without_choice(error: ValueError) -> ConfigError:
    """Hydra's complaint about ``loss=null``, which does not say which group it means."""
    for argument in sys.argv[1:]:
        group, _, choice = argument.partition("=")
        if group in GROUPS and choice in ("", "null"):
            names = [path.stem for path in (config_dir() / group).glob("*.yaml") if not path.stem.startswith("_")]
            return ConfigError(f"{argument} cannot be: a run needs a {group}. {nearest(choice, names)}")
    return ConfigError(" ".join(str(error).split()))


def _valid_names() -> list[str]:
    """Every group and every key of the front door's composition and of each group's choices."""
    conf = config_dir()
    root = OmegaConf.load(conf / f"{_config_name[0]}.yaml")
    names = set(dotted_keys(root)) - {"defaults"}
    names |= {f"hydra.sweeper.{key!s}" for key in OmegaConf.load(conf / "hydra" / "sweeper" / "optuna.yaml")}
    groups = {str(group) for choice in root.defaults if isinstance(choice, DictConfig) for group in choice}
    for path in sorted(conf.glob("*/*.yaml")):
        group = path.parent.name
        if group in groups:
            names.add(group)
        if group in groups and group not in ("experiment", "sweep"):
            names |= {
                f"{group}.{key}" for key in dotted_keys(OmegaConf.load(path)) if not key.startswith(("_", "defaults"))
            }
    return sorted(names)
