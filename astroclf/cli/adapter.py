"""Hydra as astroclf drives it, and the one file that reaches behind Hydra's public doors.

``@hydra.main`` reads ``sys.argv`` by itself, words its own errors and ends the process; ``hydra.compose`` runs nothing.
What lies between is an object of class `hydra._internal.hydra.Hydra`, which Hydra's own initializers put into
`GlobalHydra`. `HydraSession` calls its methods. ``tests/cli/test_adapter.py`` tells which of them moved.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException
from hydra.utils import execution_whitelist
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from astroclf.cli.sent_files import SentFilesGuard
from astroclf.errors import AstroclfError, ConfigError
from astroclf.util.text import nearest

TRUSTED = ["astroclf.*"]  # for the logging handlers in conf/hydra; `config.build` has a whitelist of its own
MULTIRUN = "hydra.mode=MULTIRUN"


class HydraSession:
    """Hydra, with the yaml files of one verb.

    Attributes
    ----------
    config_name
        The verb's own yaml file, without its ending.
    """

    def __init__(self, config_name: str) -> None:
        hydra_of_this_process = GlobalHydra.instance().hydra
        assert hydra_of_this_process is not None
        self._hydra, self.config_name = hydra_of_this_process, config_name

    @classmethod
    @contextmanager
    def begin(
        cls, job_name: str, config_name: str, folders: Sequence[Path], own_name: str = ""
    ) -> Iterator[HydraSession]:
        """Make Hydra ready for one command, with yaml files in these folders, and leave it as it was before.

        Parameters
        ----------
        own_name
            The verb's yaml file among astroclf's own, where another is to be composed.
        """
        places = [f"file://{folder}" for folder in folders]
        log = logging.getLogger()
        handlers, level = list(log.handlers), log.level
        try:
            with execution_whitelist(TRUSTED), hydra.initialize_config_search_path(places, job_name=job_name):
                session = cls(config_name)
                assert isinstance(session.loader, ConfigLoaderImpl)
                SentFilesGuard(session.loader, own_name or config_name)
                yield session
        finally:
            for handler in [each for each in log.handlers if each not in handlers]:
                handler.close()  # the log file of a job stays open in a process that goes on
            log.handlers[:] = handlers
            log.setLevel(level)

    @property
    def loader(self) -> ConfigLoader:
        """Hydra's reader of yaml files."""
        return self._hydra.config_loader

    def find(self, name: str) -> Path | None:
        """Return the path of a yaml file, such as ``dataset/folder.yaml``; None if no folder has it."""
        paths = [Path(source.path) / name for source in self.loader.get_sources() if source.scheme() == "file"]
        return next((path for path in paths if path.is_file()), None)

    def compose(self, overrides: Sequence[str]) -> DictConfig:
        """Return the composition of these overrides, its ``hydra`` node included."""
        return hydra.compose(self.config_name, list(overrides), return_hydra_config=True)

    def run(self, task: Callable[[DictConfig], Any], overrides: Sequence[str], *, multirun: bool) -> None:
        """Call `task` with the composition in a folder of its own, or with each one that the overrides sweep over."""
        if multirun:
            self._hydra.multirun(self.config_name, task, [*overrides, MULTIRUN])
        else:
            self._hydra.run(self.config_name, task, list(overrides))

    def print_config(self, kind: str, overrides: Sequence[str], *, package: str | None, resolve: bool) -> None:
        """Print what ``--cfg`` asks for."""
        self._hydra.show_cfg(self.config_name, list(overrides), kind, package, resolve)

    def print_info(self, kind: str, overrides: Sequence[str]) -> None:
        """Print what ``--info`` asks for."""
        self._hydra.show_info(kind, self.config_name, list(overrides))

    def print_hydra_help(self, overrides: Sequence[str]) -> None:
        """Print the help on Hydra's own options."""
        options = argparse.Namespace(overrides=list(overrides))
        self._hydra.hydra_help(self.config_name, get_args_parser(), options)

    @staticmethod
    def job_folder() -> Path:
        """Return the folder of the job that Hydra is running."""
        return Path(HydraConfig.get().runtime.output_dir)


def in_our_words(error: HydraException | OmegaConfBaseException) -> AstroclfError:
    """Return what Hydra refused as an error of ours: our own where one was the cause."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, AstroclfError):
        cause = cause.__cause__ or cause.__context__
    if isinstance(cause, AstroclfError):
        return cause
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        names = [name for name in error.options if not name.startswith("_")]
        return ConfigError(f"There is no {group} called '{choice}'. {nearest(choice, names)}")
    text = " ".join(str(error).split())
    if isinstance(error.__cause__, OmegaConfBaseException) and error.__cause__.msg:
        text += f": {error.__cause__.msg.splitlines()[0]}"
    return ConfigError(text)
